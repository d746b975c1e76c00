"""vLLM's limits: what plans are made under, and how a step is held to less."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vllm.v1.core.sched.scheduler import Scheduler

from slosched.core.snapshot import EngineLimits
from slosched.planner import Decision

_TOKENS = "max_num_scheduled_tokens"


def engine_limits(scheduler: Scheduler) -> EngineLimits:
    """Read what the engine can hold."""
    sequences = int(getattr(scheduler, _slots(scheduler)))
    tokens = max(scheduler.max_num_scheduled_tokens, sequences)
    blocks = int(scheduler.cache_config.num_gpu_blocks or 1)
    return EngineLimits(sequences, tokens, scheduler.block_size, blocks)


def ceilings(
    scheduler: Scheduler, decision: Decision, running: int, decoding: int
) -> dict[str, int]:
    """Say which of vLLM's limits are lower for one step, and how low.

    Whatever is decided, those that run keep their slots, and those that decode get their tokens.

    Parameters
    ----------
    decision
        Of the planner.
    running, decoding
        How many requests have a slot before the step, and how many of these decode.
    """
    lower, slots = {}, _slots(scheduler)
    if decision.max_num_seqs < getattr(scheduler, slots):
        # Streaming sessions between two turns fill slots in vLLM's eyes, but add nothing to a step.
        idle = getattr(scheduler, "num_waiting_for_streaming_input", 0)
        lower[slots] = max(int(decision.max_num_seqs), 1, running) + idle
    fewer = decision.max_num_batched_tokens < scheduler.max_num_scheduled_tokens
    if fewer and decoding and _splits_prompts(scheduler):
        needed = decoding * (1 + getattr(scheduler, "num_spec_tokens", 0))
        lower[_TOKENS] = max(int(decision.max_num_batched_tokens), needed)
    return {name: value for name, value in lower.items() if value < getattr(scheduler, name)}


@contextmanager
def held_to(scheduler: Scheduler, ceilings: Mapping[str, int]) -> Iterator[None]:
    """Lower vLLM's limits while it schedules a step."""
    own = {name: getattr(scheduler, name) for name in ceilings}
    vars(scheduler).update(ceilings)
    try:
        yield
    finally:
        vars(scheduler).update(own)


def _slots(scheduler: Scheduler) -> str:
    """Name the limit on admission; older versions know none below the worker's slots."""
    narrow = "max_num_active_reqs"
    return narrow if hasattr(scheduler, narrow) else "max_num_running_reqs"


def _splits_prompts(scheduler: Scheduler) -> bool:
    """Whether a prompt may be cut anywhere: if not, a small budget might never let it begin."""
    return bool(
        scheduler.scheduler_config.enable_chunked_prefill
        and not scheduler.max_num_encoder_input_tokens
        and not getattr(scheduler, "need_mamba_block_aligned_split", False)
        and not getattr(scheduler, "num_prefill_lookahead", 0)
    )
