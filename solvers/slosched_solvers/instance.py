"""A snapshot as the compiled kernels read it: contiguous arrays, times from now."""

from typing import NamedTuple

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.snapshot import SCENARIOS, EngineLimits, Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray

EXPECTED = SCENARIOS.index("length")


class Instance(NamedTuple):
    """What a rollout needs to know; arrays of shape (n,) if not said, seconds and tokens."""

    prefill: IntArray  # prompt tokens still to compute, at least 1 for a waiting request
    context: IntArray  # tokens in the KV cache
    remaining: IntArray  # (scenarios, n): output tokens to come
    produced: IntArray
    running: BoolArray
    age: FloatArray  # since arrival
    first_ago: FloatArray  # since the first token; NaN if it is to come
    ttft: FloatArray
    tpot: FloatArray
    e2e: FloatArray
    weight: FloatArray
    limits: IntArray  # max_num_seqs, max_num_batched_tokens, KV tokens, KV tokens lost a sequence
    latency: FloatArray  # base, per prefill token, per sequence, per context token


def build(snapshot: Snapshot, *, robust: bool = False) -> Instance:
    """Copy what the kernels need out of a snapshot.

    Parameters
    ----------
    snapshot
        The live requests and the engine.
    robust
        Take three scenarios of lengths where the predictor is unsure of any; else only the
        lengths that it expects.
    """
    live = snapshot.live
    return Instance(
        prefill=np.where(live["running"], live["prefill"], np.maximum(live["prefill"], 1)),
        context=np.ascontiguousarray(live["context"]),
        remaining=_scenarios(snapshot) if robust else snapshot.remaining[None, :],
        produced=np.ascontiguousarray(live["produced"]),
        running=np.ascontiguousarray(live["running"]),
        age=snapshot.now - live["arrival"],
        first_ago=snapshot.now - live["first_token"],
        ttft=np.ascontiguousarray(live["ttft"]),
        tpot=np.ascontiguousarray(live["tpot"]),
        e2e=np.ascontiguousarray(live["e2e"]),
        weight=np.ascontiguousarray(live["weight"]),
        limits=limits_of(snapshot.limits),
        latency=latency_of(snapshot.latency),
    )


def limits_of(limits: EngineLimits) -> IntArray:
    """Return what an engine holds as kernels read it, shape (4,)."""
    return np.array(
        [
            limits.max_num_seqs,
            limits.max_num_batched_tokens,
            limits.kv_tokens,
            # A sequence's last block is half empty on average.
            limits.block_size // 2,
        ],
        dtype=np.int64,
    )


def latency_of(latency: LinearLatency) -> FloatArray:
    """Return how long an engine's steps take as kernels read it, shape (4,)."""
    return np.array(
        [
            latency.base,
            latency.per_prefill_token,
            latency.per_sequence,
            latency.per_context_token,
        ]
    )


def _scenarios(snapshot: Snapshot) -> IntArray:
    """Deal each request's three lengths out to three scenarios, which are equally likely.

    Answers are short or long independently of each other, so that each scenario has a third of
    them short, a third as expected and a third long.
    """
    lengths = snapshot.scenarios
    if (lengths == lengths[EXPECTED]).all():
        return lengths[EXPECTED : EXPECTED + 1]
    n = len(snapshot)
    dealt = (np.arange(len(SCENARIOS))[:, None] + snapshot.live["serial"]) % len(SCENARIOS)
    return np.ascontiguousarray(lengths[dealt, np.arange(n)])


def select(instance: Instance, rows: IntArray) -> Instance:
    """Keep some rows only, in that order; the engine stays as it is."""
    engine = ("limits", "latency")
    columns = {
        name: np.ascontiguousarray(column[..., rows])
        for name, column in instance._asdict().items()
        if name not in engine
    }
    return instance._replace(**columns)
