"""The file of keys: one entry for each, with what its owner may ask for."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from math import inf
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from slosched.config.document import Document, Entry, Path, Place, hint
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml, read_text
from slosched.core.errors import ConfigError
from slosched.core.tags import Tagger
from slosched_server.caller import Caller
from slosched_server.rates import Limits, Meter

_STRICT = ConfigDict(extra="forbid", frozen=True)
_SCHEME = "sha256:"
_OTHERS_MAY_WRITE = 0o002
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_Tenant = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")]


class KeySettings(BaseModel):
    """One key: its digest, and what its owner may do.

    `classes` may be left out for all of them, and `explicit_targets` to go with that. `trusted`
    clients say for which tenant a request is.
    """

    model_config = _STRICT

    name: _Name
    hash: str
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    slo_class: str | None = Field(default=None, alias="class")
    explicit_targets: bool | None = None
    tenant: _Tenant | None = None
    weight: float | None = Field(default=None, gt=0, lt=inf)
    trusted: bool = False
    admin: bool = False
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    burst: int | None = Field(default=None, ge=1)

    @field_validator("hash")
    @classmethod
    def _is_a_digest(cls, value: str) -> str:
        # Whatever stands here may be a key by mistake: it is not repeated.
        digits = value.removeprefix(_SCHEME)
        if digits == value or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
            raise ValueError(f"must be {_SCHEME} and 64 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "KeySettings":
        if self.burst is not None and self.requests_per_minute is None:
            raise ValueError("burst: goes with requests_per_minute")
        if self.slo_class and self.classes is not None and self.slo_class not in self.classes:
            raise ValueError(f"class: {self.slo_class!r} must be one of classes")
        return self

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        return bytes.fromhex(self.hash.removeprefix(_SCHEME))

    @property
    def called(self) -> str:
        """The tenant for whom its requests are."""
        return self.tenant or self.name

    def limits(self) -> Limits:
        """Return its rate limits."""
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.burst)

    def caller(self, tagger: Tagger, meter: Meter, *, strips: bool) -> Caller:
        """Return its owner, whose requests are of the default class if that is allowed."""
        usual, classes = tagger.default_class, self.classes
        first = usual if classes is None or usual in classes else classes[0]
        targets = classes is None if self.explicit_targets is None else self.explicit_targets
        return Caller(
            tagger.with_default(self.slo_class or first),
            classes,
            targets,
            self.trusted,
            strips,
            self.called,
            self.admin,
            meter if self.limits() != Limits() else None,
        )


class KeyFile(BaseModel):
    """All keys; an empty file, as one that is just being written, is none."""

    model_config = _STRICT

    keys: list[KeySettings]

    @model_validator(mode="after")
    def _tell_apart(self) -> "KeyFile":
        names: set[str] = set()
        hashes: set[str] = set()
        for i, key in enumerate(self.keys):
            if key.name in names:
                raise ValueError(f"keys.{i}.name: two keys are called {key.name!r}")
            if key.hash in hashes:
                raise ValueError(f"keys.{i}.hash: another key has the same")
            names.add(key.name)
            hashes.add(key.hash)
        self.weights()
        return self

    def weights(self) -> Mapping[str, float]:
        """Return the shares of tenants that keys give; ValueError if two keys disagree."""
        weights: dict[str, float] = {}
        for i, key in enumerate(self.keys):
            if key.weight is None:
                continue
            if weights.setdefault(key.called, key.weight) != key.weight:
                raise ValueError(f"keys.{i}.weight: another key gives {key.called!r} another one")
        return weights


def read_keys(path: FilePath, classes: Collection[str]) -> KeyFile:
    """Read a file of keys.

    Parameters
    ----------
    path
        YAML, of which JSON is a part.
    classes
        All that there are.

    Raises
    ------
    ConfigError
        If it cannot be read, everybody may write it, it does not fit, or names another class.
    """
    document = load_yaml(read_text(path), str(path))
    if path.stat().st_mode & _OTHERS_MAY_WRITE:
        raise ConfigError(f"{path}: everybody may write it, and so give keys: chmod o-w {path}")
    file = check_keys(document)
    for i, key in enumerate(file.keys):
        for name in (*(key.classes or ()), *filter(None, (key.slo_class,))):
            _check_class(document, i, name, list(classes))
    return file


def check_keys(document: Document) -> KeyFile:
    """Return what a file says; ConfigError if it does not fit."""
    return validate(document, TypeAdapter(KeyFile))


def check_key(entry: dict[str, Any], origin: str) -> None:
    """Raise `ConfigError`, which begins with `origin`, unless an entry is one."""
    here = Entry(Place(origin), Place(origin))
    places: defaultdict[Path, Entry] = defaultdict(lambda: here)
    validate(Document(entry, places), TypeAdapter(KeySettings))


def written(digest: bytes) -> str:
    """Write a digest as `hash` has it."""
    return _SCHEME + digest.hex()


def _check_class(document: Document, i: int, name: str, classes: Sequence[str]) -> None:
    if name not in classes:
        place = document.places["keys", i].value
        raise ConfigError(f"{place}: keys.{i}: unknown class {name!r}{hint(name, list(classes))}")
