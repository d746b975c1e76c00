"""Which requests could meet their SLO at all: on an engine that has nothing else to do."""

from collections.abc import Sequence
from math import inf

import numpy as np

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.core.types import BoolArray, FloatArray, IntArray


def attained_alone(trace: Sequence[TracedRequest], settings: Settings) -> BoolArray:
    """Tell who would keep all limits on an idle engine, shape (n,).

    Every step is at its cheapest there, and every part of a prompt that came before is in its
    prefix cache: on no engine of these settings does anybody do better.
    """
    first, finish = times_alone(trace, settings)
    tokens = np.maximum(served_tokens(trace, settings) - 1, 1)
    tpot = np.where(np.isinf(finish), 0.0, finish) - np.where(np.isinf(first), 0.0, first)
    times = zip(trace, first.tolist(), (tpot / tokens).tolist(), finish.tolist(), strict=True)
    # Who is never served keeps no limit, and may have none that says so.
    met = [c < inf and t.request.slo.attained(a, b, c) for t, a, b, c in times]
    return np.array(met, dtype=np.bool_)


def times_alone(
    trace: Sequence[TracedRequest], settings: Settings
) -> tuple[FloatArray, FloatArray]:
    """Seconds from each request's arrival to its first and its last token on such an engine.

    Returns
    -------
    Two arrays of shape (n,); infinite for a request that the engine can never serve.
    """
    limits, latency = settings.limits(), settings.steps()
    prompts: IntArray = np.array([t.request.input_tokens for t in trace], dtype=np.int64)
    answers = served_tokens(trace, settings)
    first = settings.engine_options().overhead + latency.prompt_alone(
        (prompts - _found(trace, settings)).astype(np.float64), limits.max_num_batched_tokens
    )
    decodes = np.maximum(answers - 1, 0).astype(np.float64)
    finish = first + latency.answer_alone(decodes, prompts.astype(np.float64))
    blocks = -(-(prompts + answers) // limits.block_size)
    served = (answers >= 1) & (blocks < limits.num_kv_blocks)  # vLLM keeps one for itself
    return np.where(served, first, np.inf), np.where(served, finish, np.inf)


def served_tokens(trace: Sequence[TracedRequest], settings: Settings) -> IntArray:
    """Output tokens that each request gets, shape (n,): at most what its limits leave room for."""
    longest = settings.engine.max_model_len
    room = [inf if longest is None else longest - t.request.input_tokens for t in trace]
    asked = [inf if t.request.max_tokens is None else t.request.max_tokens for t in trace]
    said = [t.output_tokens for t in trace]
    tokens: IntArray = np.minimum(np.minimum(room, asked), said).astype(np.int64)
    return tokens


def _found(trace: Sequence[TracedRequest], settings: Settings) -> IntArray:
    """Prompt tokens that could be in a prefix cache by the time that each request comes."""
    options = settings.engine_options()
    found = np.zeros(len(trace), dtype=np.int64)
    if not options.enable_prefix_caching:
        return found
    seen: set[int] = set()
    for i, traced in enumerate(trace):
        pages = 0
        for page in traced.hash_ids:
            if page not in seen:
                break
            pages += 1
        # The last token is always computed, as it says what comes next.
        found[i] = min(pages * options.page_tokens, traced.request.input_tokens - 1)
        seen.update(traced.hash_ids)
    return found
