"""The section `engine`: the engine, where there is none to ask."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from slosched.config.profile import load_profile
from slosched.core.errors import ConfigError
from slosched.core.snapshot import EngineLimits
from slosched.sim.options import EngineOptions, SchedulerKind


@dataclass(frozen=True, slots=True)
class EngineSettings(EngineLimits):
    """What a simulated engine holds, how long its steps take, and how it schedules."""

    profile: str = "h100-llama2-70b-tp8"
    scheduler: SchedulerKind = "slosched"
    async_scheduling: bool = True
    enable_prefix_caching: bool = True
    watermark: float = 0.0
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        EngineLimits.__post_init__(self)
        self.options()

    def limits(self) -> EngineLimits:
        """Return what the engine holds."""
        return EngineLimits(
            self.max_num_seqs, self.max_num_batched_tokens, self.block_size, self.num_kv_blocks
        )

    def options(self) -> EngineOptions:
        """Return how a simulated engine schedules."""
        return EngineOptions(
            self.scheduler,
            self.async_scheduling,
            self.enable_prefix_caching,
            self.watermark,
            self.max_model_len,
        )


def _with_profile_limits(value: object) -> object:
    """Let the limits of the engine that was measured hold where others are not set."""
    if not isinstance(value, dict) or not isinstance(name := value.get("profile"), str):
        return value
    # What is wrong with a profile is said where its times are read.
    with suppress(ConfigError):
        return {**load_profile(name).limits(), **value}
    return value


Engine = Annotated[EngineSettings, BeforeValidator(_with_profile_limits)]
