"""The engine that arXiv 2504.14966 plans for: fixed batches, one after the other.

A batch runs until its longest request ends, and then the next one begins. Prefill and per-token
decode time are linear in batch size and length (section 4.2), with coefficients that follow from
the engine's own: a token of prefill also bears its share of a full step's base. So the times of
one request are linear in the size of its batch.
"""

from typing import NamedTuple

import numpy as np

from slosched.core.slo import TOLERANCE
from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.kernel import kernel


class Jobs(NamedTuple):
    """Requests as the model sees them; arrays of shape (n,), seconds from now and tokens."""

    first_fixed: FloatArray  # to the first token, in a batch of b: first_fixed + b * first_each
    first_each: FloatArray
    answer_fixed: FloatArray  # from there to the last one
    answer_each: FloatArray
    first_due: FloatArray  # deadline of the first token
    finish_due: FloatArray
    pace: FloatArray  # most seconds from first token to last; inf once the first one is out
    age: FloatArray
    tokens: IntArray  # held in the KV cache at the end


def jobs(snapshot: Snapshot, rows: IntArray) -> Jobs:
    """Work out what the model knows of some rows of a snapshot."""
    latency, limits = snapshot.latency, snapshot.limits
    prefill, remaining = snapshot.prefill[rows], snapshot.remaining[rows]
    held = snapshot.context[rows] + prefill
    decodes = (remaining - (prefill > 0)).astype(np.float64)
    per_prefill = latency.per_prefill_token + latency.base / limits.max_num_batched_tokens
    contexts = decodes * held + decodes * (decodes - 1) / 2
    age = snapshot.now - snapshot.arrival[rows]
    first_ago = snapshot.now - snapshot.first_token[rows]
    started = ~np.isnan(first_ago)
    some = 1 + TOLERANCE
    first_due = snapshot.ttft[rows] * some - age
    in_time = np.where(-first_ago <= first_due, np.inf, -np.inf)
    pace = snapshot.tpot[rows] * some * np.maximum(snapshot.produced[rows] + remaining - 1, 1)
    finish_due = snapshot.e2e[rows] * some - age
    return Jobs(
        first_fixed=np.where(prefill > 0, latency.base, 0.0),
        first_each=np.multiply(prefill, per_prefill),
        answer_fixed=decodes * latency.base,
        answer_each=decodes * latency.per_sequence + latency.per_context_token * contexts,
        first_due=np.where(started, in_time, first_due),
        finish_due=np.where(started, np.fmin(finish_due, pace - first_ago), finish_due),
        pace=np.where(started, np.inf, pace),
        age=age,
        tokens=held + remaining,
    )


@kernel
def outcome(work: Jobs, batch: IntArray, sizes: IntArray, ends: FloatArray) -> tuple[int, float]:
    """Count the requests that meet their SLO, and add up all latencies: n and t of G = n / t.

    Parameters
    ----------
    work
        The n requests.
    batch, sizes
        Shape (n,): the batch of each request, from 0 on, and how many are in each batch.
    ends
        Shape (n + 1,), written: when each batch begins, that is when the one before it ends.
    """
    ends[:] = 0.0
    for i in range(len(batch)):
        b = sizes[batch[i]]
        first = work.first_fixed[i] + b * work.first_each[i]
        answer = work.answer_fixed[i] + b * work.answer_each[i]
        ends[batch[i] + 1] = max(ends[batch[i] + 1], first + answer)
    for k in range(len(batch)):
        ends[k + 1] += ends[k]
    met, latencies = 0, 0.0
    for i in range(len(batch)):
        b = sizes[batch[i]]
        first = ends[batch[i]] + work.first_fixed[i] + b * work.first_each[i]
        answer = work.answer_fixed[i] + b * work.answer_each[i]
        finish = first + answer
        latencies += work.age[i] + finish
        in_time = first <= work.first_due[i] and finish <= work.finish_due[i]
        met += in_time and answer <= work.pace[i]
    return met, latencies
