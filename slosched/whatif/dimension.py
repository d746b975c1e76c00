"""One dimension of a grid: a setting, and the values that it shall take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from slosched.config.document import Document, Place, hint, show
from slosched.config.overrides import Override, change
from slosched.config.parts import POLICIES
from slosched.config.schema import Settings
from slosched.config.yaml import load_at
from slosched.core.errors import ConfigError

LOAD, POLICY = "load", "policy"
REPLICAS, SHARDS = "replicas", "shards"
ALL = "all"
_OF_THE_RUN = (LOAD, REPLICAS, SHARDS)  # and not of the configuration


@dataclass(frozen=True, slots=True)
class Dimension:
    """Values to try.

    Parameters
    ----------
    path
        The setting's place in the YAML; or `load`, `replicas`, `shards`; or `policy`, whose values
        are kinds, and mappings that replace the policy whole.
    values
        Plain data; each once.
    origin
        What to call it in errors.
    """

    path: str
    values: tuple[object, ...]
    origin: str

    def changes(self, value: object, base: Settings) -> list[Override]:
        """Return what leads from the base to a value of this dimension.

        Raises
        ------
        ConfigError
            If there is no such policy.
        """
        if self.path in _OF_THE_RUN or (self.path == POLICY and value == base.policy.kind):
            return []
        if self.path == POLICY and isinstance(value, str):
            if value not in POLICIES:
                known = hint(value, list(POLICIES))
                raise ConfigError(f"{self.origin}: unknown policy {value!r}{known}")
            value = {"kind": value}  # with its defaults, whatever the configured one has
        return [change(self.path, value, self.origin)]


def dimension(path: str, values: Sequence[object], origin: str) -> Dimension:
    """Make a dimension of a list as YAML has it: values that come twice are there once.

    Raises
    ------
    ConfigError
        If there is no value, or one that is no load, no number of replicas, or no policy.
    """
    if not values:
        raise ConfigError(f"{origin}: needs at least one value")
    if path == LOAD:
        values = [_load(value, origin) for value in values]
    if path in (REPLICAS, SHARDS):
        values = [_count(value, origin) for value in values]
    if path == POLICY and ALL in values:
        values = list(POLICIES)
    for value in values if path == POLICY else ():
        if not isinstance(value, str | dict):
            raise ConfigError(f"{origin}: must be names of policies, got {show(value)}")
    return Dimension(path, tuple({json.dumps(value): value for value in values}.values()), origin)


def from_option(option: str) -> Dimension:
    """Read `engine.max_num_seqs=16,32`, as `--grid` takes it; ConfigError if it is malformed."""
    path, equals, text = (part.strip() for part in option.partition("="))
    origin = f"--grid {path}"
    if not (path and equals):
        raise ConfigError(
            f"--grid {option}: must be PATH=VALUE,..., as in engine.max_num_seqs=8,16"
        )
    values = load_at(f"[{text}]", lambda _: Place(origin), (), {})
    if not isinstance(values, list):
        raise ConfigError(f"{origin}: must be values with commas between them, got {text}")
    return dimension(path, values, origin)


def from_document(document: Document) -> list[Dimension]:
    """Read the grid of a configuration that fits."""
    grid = (document.value.get("whatif") or {}).get("grid") or {}
    return [
        dimension(path, values, f"{document.places['whatif', 'grid', path].key}: {path}")
        for path, values in grid.items()
    ]


def merged(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Put the values of dimensions of the same path together, at the place of the first."""
    found: dict[str, Dimension] = {}
    for one in dimensions:
        first = found.setdefault(one.path, one)
        if first is not one:
            both = dimension(one.path, (*first.values, *one.values), one.origin)
            found[one.path] = replace(both, origin=first.origin)
    return list(found.values())


def loads(named: Sequence[float]) -> list[float]:
    """Check what `--load` names, and leave out what it names twice; load 1 if it names none.

    Raises
    ------
    ConfigError
        If one is not greater than 0 and finite.
    """
    return list(dict.fromkeys(_load(value, "--load") for value in named or [1.0]))


def _load(value: object, origin: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 < value < inf):  # type: ignore[operator]  # a number by now
        shown = f"{value:g}" if number else show(value)
        raise ConfigError(f"{origin} must be greater than 0 and finite, got {shown}")
    return float(value)  # type: ignore[arg-type]  # same


def _count(value: object, origin: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{origin} must be a whole number from 1 on, got {show(value)}")
    return value
