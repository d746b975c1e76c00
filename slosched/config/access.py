"""The section `access`: who may ask, and for what."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from slosched.config.keys import KeyFile
from slosched.core.errors import ConfigError
from slosched.core.tags import Tagger
from slosched_server.access import Access
from slosched_server.caller import Caller
from slosched_server.keys import Keyring
from slosched_server.listen import is_loopback
from slosched_server.rates import Meters


class AccessSettings(BaseModel):
    """Keys, and what counts of what clients say; without keys only this machine may ask.

    `tags` says what becomes of a tag that is not for its client to say: whoever has no key may
    say everything (`trust`, where there are no keys), or it is ignored, or refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Path | None = None
    open: bool = False
    tags: Literal["trust", "strip", "refuse"] | None = None
    engine_key_env: str | None = Field(default=None, min_length=1)
    metrics_open: bool = False

    @field_serializer("keys")
    def _as_text(self, keys: Path | None) -> str | None:
        return None if keys is None else str(keys)

    def file(self, beside: Path | None) -> Path | None:
        """Return where the keys are: beside the configuration, unless the path is absolute."""
        if self.keys is None or beside is None:
            return self.keys
        return beside.parent / self.keys

    def check_exposure(self, host: str) -> None:
        """Raise `ConfigError` if strangers could reach an address where no key is asked for."""
        if self.keys is None and not self.open and not is_loopback(host):
            raise ConfigError(
                f"host: {host} can be reached from other machines, and no key is asked "
                "for: name a file of keys (access.keys), or say that everybody may come "
                "(access.open: true)"
            )

    def build(self, file: KeyFile | None, tagger: Tagger, meters: Meters) -> Access:
        """Return what the front end goes by; `meters` go on counting.

        Raises
        ------
        ConfigError
            If there is no such variable as `engine_key_env`.
        """
        engine_key = self._engine_key()
        tags = self.tags or ("trust" if file is None else "refuse")
        strips = tags == "strip"
        keyring = None
        if file is not None:
            of = meters.renew({key.digest: key.limits() for key in file.keys})
            keyring = Keyring(
                {key.digest: key.caller(tagger, of[key.digest], strips=strips) for key in file.keys}
            )
        anybody = None if tags == "trust" else Caller(tagger, strips=strips)
        return Access(keyring, anybody, self.open, engine_key, self.metrics_open)

    def _engine_key(self) -> str:
        if self.engine_key_env is None:
            return ""
        key = os.environ.get(self.engine_key_env, "")
        if not key.isascii() or not key.isprintable() or not key:
            raise ConfigError(
                f"access.engine_key_env: the variable {self.engine_key_env} must hold a key of "
                "printable ASCII characters"
            )
        return key
