"""How a simulated engine schedules, beyond what it can hold."""

from dataclasses import dataclass
from math import inf
from typing import Literal

SchedulerKind = Literal["slosched", "vllm-fcfs", "vllm-priority"]
PAGE_TOKENS = 512  # of Mooncake's hash_ids


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """vLLM's settings that change what a step does.

    Parameters
    ----------
    scheduler
        `slosched`: our scheduler class, in the order of a policy's plans. `vllm-fcfs` and
        `vllm-priority`: vLLM's own scheduler, which knows no plans.
    async_scheduling
        Whether a step is scheduled while the one before it is on the device; vLLM's default
        wherever there is a GPU.
    enable_prefix_caching
        Whether a prompt's full blocks are looked for among those of others, and of itself before
        it was preempted.
    watermark
        Share of the KV blocks that an admission leaves free.
    max_model_len
        Most tokens of a prompt and its answer together; None for as many as fit.
    overhead
        Seconds until a request that arrived is before the scheduler: HTTP and tokenisation.
    learns_latency
        Whether plans go by a line that is fitted to the engine's newest steps, as inside of vLLM,
        where steps are not what the planner was told; or by what it was told to the end.
    page_tokens
        Prompt tokens that one of a trace's `hash_ids` stands for.

    Raises
    ------
    ValueError
        If a value is out of bounds.
    """

    scheduler: SchedulerKind = "slosched"
    async_scheduling: bool = True
    enable_prefix_caching: bool = True
    watermark: float = 0.0
    max_model_len: int | None = None
    overhead: float = 0.0
    learns_latency: bool = True
    page_tokens: int = PAGE_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.watermark < 1:
            raise ValueError(f"watermark must be at least 0 and below 1, got {self.watermark}")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ValueError(f"max_model_len must be at least 2, got {self.max_model_len}")
        if not 0 <= self.overhead < inf:
            raise ValueError(f"overhead must not be negative, and finite, got {self.overhead}")
        if self.page_tokens < 1:
            raise ValueError(f"page_tokens must be at least 1, got {self.page_tokens}")
