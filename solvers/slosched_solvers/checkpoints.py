"""Checkpoints of a rollout: where it can begin again, for orders that begin alike."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.kernel import inlined, kernel

STRIDE = 8  # waiting requests between two checkpoints: saving one costs as much as running a few
FROM_SCRATCH = -1


class Checkpoints(NamedTuple):
    """The engine just before it first looks at every eighth waiting request or so of one order.

    There are two of each: those of the order that is in force, and those of one on trial.
    """

    filled: BoolArray  # (k,): the one in force may be used
    current: IntArray  # (k,): which of the two is in force
    fresh: BoolArray  # (k,): the other one belongs to the order on trial
    counters: IntArray  # (2, k, 10)
    sums: FloatArray  # (2, k, 6)
    members: IntArray  # (2, k, 5, slots): batch, due, left, prefill, context
    first: FloatArray  # (2, k, slots)


def checkpoints(waiting: int, slots: int) -> Checkpoints:
    """Make room for the checkpoints of an order; none is filled."""
    k = -(-waiting // STRIDE)
    return Checkpoints(
        np.zeros(k, dtype=np.bool_),
        np.zeros(k, dtype=np.int64),
        np.zeros(k, dtype=np.bool_),
        np.empty((2, k, 10), dtype=np.int64),
        np.empty((2, k, 6)),
        np.empty((2, k, 5, slots), dtype=np.int64),
        np.empty((2, k, slots)),
    )


@kernel
def latest(saved: Checkpoints, place: int) -> int:
    """Return the last usable checkpoint before the waiting request at a place; -1 if none."""
    at = place // STRIDE
    while at >= 0 and not (saved.filled[at] and saved.counters[saved.current[at], at, 0] <= place):
        at -= 1
    return at


@kernel
def commit(saved: Checkpoints, begin: int) -> None:
    """Put the order on trial, which began at a checkpoint, in force."""
    for at in range(begin + 1, len(saved.filled)):
        saved.filled[at] = saved.fresh[at]
        if saved.fresh[at]:
            saved.current[at] = 1 - saved.current[at]


@inlined
def save(
    saved: Checkpoints,
    at: int,
    place: int,
    size: int,
    oldest: int,
    next_due: int,
    decoding: int,
    decoding_context: int,
    steps: int,
    free: int,
    on_time: int,
    owed: int,
    now: float,
    missed: float,
    slope: float,
    overdue: float,
    latency: float,
    owed_ages: float,
    batch: IntArray,
    due: IntArray,
    left: IntArray,
    prefill: IntArray,
    context: IntArray,
    first: FloatArray,
) -> None:
    """Note the engine just before it looks at a place, as a checkpoint of the order on trial."""
    version = 1 - saved.current[at]
    saved.fresh[at] = True
    counters, sums = saved.counters[version, at], saved.sums[version, at]
    counters[0], counters[1], counters[2], counters[3] = place, size, oldest, next_due
    counters[4], counters[5] = decoding, decoding_context
    counters[6], counters[7], counters[8], counters[9] = steps, free, on_time, owed
    sums[0], sums[1], sums[2], sums[3] = now, missed, slope, overdue
    sums[4], sums[5] = latency, owed_ages
    members = saved.members[version, at]
    for j in range(size):
        i = batch[j]
        members[0, j], members[1, j], members[2, j] = i, due[i], left[i]
        members[3, j], members[4, j] = prefill[i], context[i]
        saved.first[version, at, j] = first[i]


NO_CHECKPOINTS = checkpoints(0, 1)
