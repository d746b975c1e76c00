"""Which requests could meet their SLO at all: on an engine that has nothing else to do."""

from collections.abc import Sequence

import numpy as np

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.core.types import BoolArray, FloatArray


def times_alone(
    trace: Sequence[TracedRequest], settings: Settings
) -> tuple[FloatArray, FloatArray]:
    """Seconds from each request's arrival to its first and last token on an idle engine.

    Nothing of the prompt is in the cache. No engine of these settings is faster, as every step is
    at its cheapest.

    Returns
    -------
    Two arrays of shape (n,); infinite for a request that the KV cache cannot hold.
    """
    limits, latency = settings.limits(), settings.latency()
    prompts = np.array([t.request.input_tokens for t in trace], dtype=np.float64)
    answers = np.array([t.output_tokens for t in trace], dtype=np.float64)
    first = latency.prompt_alone(prompts, limits.max_num_batched_tokens)
    finish = first + latency.answer_alone(answers - 1, prompts)
    blocks = np.ceil((prompts + answers) / limits.block_size)
    fits = blocks <= limits.num_kv_blocks
    return np.where(fits, first, np.inf), np.where(fits, finish, np.inf)


def attained_alone(trace: Sequence[TracedRequest], settings: Settings) -> BoolArray:
    """Tell who would keep all limits on an idle engine, shape (n,)."""
    first, finish = times_alone(trace, settings)
    return np.array(
        [
            np.isfinite(end)
            and traced.request.slo.attained(start, (end - start) / _after_first(traced), end)
            for traced, start, end in zip(trace, first.tolist(), finish.tolist(), strict=True)
        ],
        dtype=np.bool_,
    )


def _after_first(traced: TracedRequest) -> int:
    return max(traced.output_tokens - 1, 1)
