"""Requests that have come already, served once more by a model of the engines."""

from collections.abc import Sequence

import numpy as np

from slosched.core.fleet import Engine
from slosched.core.past import Past
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.past_kernel import Coming, Engines, serve


def replay_past(
    past: Past, engines: Sequence[Engine], turn: FloatArray, place: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Serve requests once more; see `slosched.core.past.Replay`.

    They wait in one queue, and are bound late: whoever's turn it is goes to an engine once that
    has a slot, and KV for the whole prompt and answer. With the rollout's step times, and its
    batches where KV is no bound.
    """
    by_turn = np.lexsort((past.arrival, turn))
    rank = np.empty_like(by_turn)
    rank[by_turn] = np.arange(len(past))
    by_arrival = np.argsort(past.arrival, kind="stable")
    first, finish = np.empty(len(past)), np.empty(len(past))
    serve(
        Coming(
            np.ascontiguousarray(past.arrival, dtype=np.float64),
            np.ascontiguousarray(past.input_tokens, dtype=np.int64),
            np.ascontiguousarray(past.output_tokens, dtype=np.int64),
            by_arrival, by_turn, rank, np.ascontiguousarray(place, dtype=np.int64),
        ),
        _as_arrays(engines), first, finish,
    )  # fmt: skip
    return first, finish


def _as_arrays(engines: Sequence[Engine]) -> Engines:
    limits = [
        (one.limits.max_num_seqs, one.limits.max_num_batched_tokens, one.limits.kv_tokens)
        for one in engines
    ]
    latency = [
        (
            one.latency.base,
            one.latency.per_prefill_token,
            one.latency.per_sequence,
            one.latency.per_context_token,
        )
        for one in engines
    ]
    return Engines(np.array(limits, dtype=np.int64), np.array(latency))
