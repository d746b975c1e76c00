"""Reads vLLM's own state into the planner's arrays."""

from collections.abc import Iterable, Mapping

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from slosched.core.types import LiveArray
from slosched.vllm.observed import StepShape


def write_progress(live: LiveArray, rows: Mapping[str, int], running: Iterable[Request]) -> None:
    """Write how far each running request has come; requests without a row are left out."""
    progress = [
        (row, *_progress(request))
        for request in running
        if (row := rows.get(request.request_id)) is not None
    ]
    if progress:
        at, prefill, context, produced = np.array(progress).T
        live["prefill"][at], live["context"][at], live["produced"][at] = prefill, context, produced


def _progress(request: Request) -> tuple[int, int, int]:
    """Tokens to prefill, tokens in the KV cache and tokens produced, as of the last step."""
    computed, outputs = request.num_computed_tokens, request.num_output_tokens
    if request.is_prefill_chunk:
        return request.num_tokens - computed, computed, outputs
    if outputs:
        # Under asynchronous scheduling, tokens of the step in flight are but placeholders yet.
        return 0, computed, outputs + request.num_output_placeholders
    # The first token is in flight: to a plan it is still to come, out of the next step.
    return 1, computed, 0


def step_shape(
    live: LiveArray, rows: Mapping[str, int], output: SchedulerOutput
) -> StepShape | None:
    """Sum up what a step computes, from the state before it; None if empty or unknown."""
    scheduled = output.num_scheduled_tokens
    at = np.array([rows.get(request_id, -1) for request_id in scheduled], dtype=np.int64)
    if not len(at) or at.min() < 0:
        return None
    tokens = np.fromiter(scheduled.values(), dtype=np.int64, count=len(at))
    decoding = live["running"][at] & (live["prefill"][at] <= 1)
    context = live["context"][at][decoding]
    return StepShape(int(tokens[~decoding].sum()), len(context), int(context.sum()))
