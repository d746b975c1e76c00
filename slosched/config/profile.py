"""Latency profiles: an engine's measured step times, shipped or in a file."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.detailed_latency import DetailedLatency, StepLatency
from slosched.core.errors import ConfigError
from slosched.core.latency import LinearLatency

_SHIPPED = files("slosched.config") / "profiles"


_STRICT = ConfigDict(extra="forbid", frozen=True)
_LIMITS = ("max_num_seqs", "max_num_batched_tokens", "block_size", "num_kv_blocks")
# A step cannot take less time for doing more.
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ProfiledEngine(BaseModel):
    """What the engine that was measured could hold, as far as that is known."""

    model_config = _STRICT

    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    block_size: int | None = Field(default=None, ge=1)
    num_kv_blocks: int | None = Field(default=None, ge=1)
    max_model_len: int | None = Field(default=None, ge=1)


class ProfileError(BaseModel):
    """How far a profile is from what was measured, as shares of that; `bias` above 0: too slow."""

    model_config = _STRICT

    median: float = Field(ge=0)
    p90: float = Field(ge=0)
    bias: float
    measurements: int = Field(ge=1)


class ProfileDetail(BaseModel):
    """The same in detail, for simulations: see `DetailedLatency`.

    `sequences_ms` is what some numbers of decoding sequences add to a step.
    """

    model_config = _STRICT

    base_ms: float = Field(gt=0, allow_inf_nan=False)
    per_prefill_token_ms: Milliseconds
    prompt_step_ms: Milliseconds
    per_context_token_ms: Milliseconds
    sequences_ms: dict[Annotated[int, Field(ge=1)], Milliseconds] = Field(min_length=1)
    overhead_ms: Milliseconds
    error: str = ""

    @model_validator(mode="after")
    def _increasing(self) -> "ProfileDetail":
        self.latency()
        return self

    def latency(self) -> DetailedLatency:
        """Return the same in seconds."""
        return DetailedLatency(
            self.base_ms / 1e3,
            self.per_prefill_token_ms / 1e3,
            self.per_context_token_ms / 1e3,
            self.prompt_step_ms / 1e3,
            tuple((number, ms / 1e3) for number, ms in sorted(self.sequences_ms.items())),
        )


class Profile(BaseModel):
    """How long an engine's steps take, in ms, and where that is known from.

    `overhead_ms` is what a request costs outside of steps; `engine` holds the limits that are in
    force where the configuration names the profile, and no others. Engines are planned by the
    coefficients, and simulated by `detail` where there is one.
    """

    model_config = _STRICT

    base_ms: float = Field(gt=0, allow_inf_nan=False)
    per_prefill_token_ms: Milliseconds
    per_sequence_ms: Milliseconds
    per_context_token_ms: Milliseconds
    overhead_ms: Milliseconds | None = None
    engine: ProfiledEngine = Field(default_factory=ProfiledEngine)
    engine_known_from: dict[str, str] = Field(default_factory=dict)
    model: str = ""
    hardware: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    date: str = ""
    source: str = ""
    error: str = ""
    relative_error: dict[str, ProfileError] = Field(default_factory=dict)
    detail: ProfileDetail | None = None

    def latency(self) -> LinearLatency:
        """Return the same in seconds."""
        return LinearLatency(
            self.base_ms / 1e3,
            self.per_prefill_token_ms / 1e3,
            self.per_sequence_ms / 1e3,
            self.per_context_token_ms / 1e3,
        )

    def steps(self) -> StepLatency:
        """Return how long steps of a simulated engine take."""
        return self.latency() if self.detail is None else self.detail.latency()

    def overhead(self) -> float:
        """Return what a request costs a simulated engine outside of steps, s."""
        ms = self.overhead_ms if self.detail is None else self.detail.overhead_ms
        return (ms or 0.0) / 1e3

    def limits(self) -> dict[str, int]:
        """Return the limits of the engine that are known, by the names of the configuration."""
        known = self.engine.model_dump(include=set(_LIMITS), exclude_none=True)
        return {name: int(value) for name, value in known.items()}


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
