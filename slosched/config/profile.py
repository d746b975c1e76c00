"""Latency profiles: an engine's measured step times, shipped or in a file."""

from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError
from slosched.core.latency import LinearLatency

_SHIPPED = files("slosched.config") / "profiles"


class Profile(BaseModel):
    """How long an engine's steps take, in ms, and where that is known from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_ms: float = Field(gt=0)
    per_prefill_token_ms: float = Field(ge=0)
    per_sequence_ms: float = Field(ge=0)
    per_context_token_ms: float = Field(ge=0)
    source: str = ""
    error: str = ""

    def latency(self) -> LinearLatency:
        """Return the same in seconds."""
        return LinearLatency(
            self.base_ms / 1e3,
            self.per_prefill_token_ms / 1e3,
            self.per_sequence_ms / 1e3,
            self.per_context_token_ms / 1e3,
        )


def shipped() -> list[str]:
    """Names of the profiles that come with slosched."""
    return sorted(Path(str(entry)).stem for entry in _SHIPPED.iterdir())


def load_profile(name: str) -> Profile:
    """Read a shipped profile by name, or one from a YAML file by path.

    Raises
    ------
    ConfigError
        If there is neither, or it does not fit.
    """
    if name in shipped():
        text = (_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeError):
            known = ", ".join(shipped())
            raise ConfigError(
                f"engine.profile: {name!r} is no readable file and no shipped profile "
                f"(shipped: {known})"
            ) from None
    return validate(load_yaml(text, name), TypeAdapter(Profile))
