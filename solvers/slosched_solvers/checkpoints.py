"""Checkpoints of a rollout: where it can begin again, for orders that begin alike."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.kernel import inlined, kernel
from slosched_solvers.slots import EMPTY, FIELDS, NEVER, Slots

STRIDE = 8  # waiting requests between two checkpoints: saving one costs as much as running a few
FROM_SCRATCH = -1
COUNTERS, SUMS = 9, 8


class Checkpoints(NamedTuple):
    """The engine just before it first looks at every eighth waiting request or so of one order.

    There are two of each: those of the order that is in force, and those of one on trial. All
    of it for each scenario of lengths, s.
    """

    filled: BoolArray  # (s, k): the one in force may be used
    current: IntArray  # (s, k): which of the two is in force
    fresh: BoolArray  # (s, k): the other one belongs to the order on trial
    counters: IntArray  # (s, 2, k, COUNTERS)
    sums: FloatArray  # (s, 2, k, SUMS)
    slots: IntArray  # (s, 2, k, FIELDS, slots)
    first: FloatArray  # (s, 2, k, slots)


def checkpoints(scenarios: int, waiting: int, slots: int) -> Checkpoints:
    """Make room for the checkpoints of an order; none is filled."""
    k = -(-waiting // STRIDE)
    return Checkpoints(
        np.zeros((scenarios, k), dtype=np.bool_),
        np.zeros((scenarios, k), dtype=np.int64),
        np.zeros((scenarios, k), dtype=np.bool_),
        np.empty((scenarios, 2, k, COUNTERS), dtype=np.int64),
        np.empty((scenarios, 2, k, SUMS)),
        np.empty((scenarios, 2, k, FIELDS, slots), dtype=np.int64),
        np.empty((scenarios, 2, k, slots)),
    )


@kernel
def latest(saved: Checkpoints, s: int, place: int) -> int:
    """Return the last usable checkpoint before the waiting request at a place; -1 if none."""
    at = place // STRIDE
    while at >= 0 and not (
        saved.filled[s, at] and saved.counters[s, saved.current[s, at], at, 0] <= place
    ):
        at -= 1
    return at


@kernel
def commit(saved: Checkpoints, s: int, begin: int) -> None:
    """Put the order on trial, which began at a checkpoint, in force."""
    for at in range(begin + 1, saved.filled.shape[1]):
        saved.filled[s, at] = saved.fresh[s, at]
        if saved.fresh[s, at]:
            saved.current[s, at] = 1 - saved.current[s, at]


@inlined
def save(
    saved: Checkpoints,
    s: int,
    at: int,
    slots: Slots,
    counters: tuple[int, ...],
    sums: tuple[float, ...],
) -> None:
    """Note the engine just before it looks at a place, as a checkpoint of the order on trial."""
    version = 1 - saved.current[s, at]
    saved.fresh[s, at] = True
    for field in range(COUNTERS):
        saved.counters[s, version, at, field] = counters[field]
    for field in range(SUMS):
        saved.sums[s, version, at, field] = sums[field]
    fields = saved.slots[s, version, at]
    first = saved.first[s, version, at]
    for c in range(len(slots.row)):
        fields[0, c], fields[1, c], fields[2, c] = slots.row[c], slots.due[c], slots.admitted[c]
        fields[3, c], fields[4, c] = slots.left[c], slots.prefill[c]
        fields[5, c], fields[6, c] = slots.context[c], slots.counted[c]
        first[c] = slots.first[c]


@inlined
def load(saved: Checkpoints, s: int, at: int, slots: Slots) -> tuple[int, int]:
    """Fill the slots from a checkpoint in force; how many are vacant, and compute prompts."""
    version = saved.current[s, at]
    fields = saved.slots[s, version, at]
    first = saved.first[s, version, at]
    vacant = queued = 0
    for c in range(len(slots.row)):
        slots.row[c], slots.due[c], slots.admitted[c] = fields[0, c], fields[1, c], fields[2, c]
        slots.left[c], slots.prefill[c] = fields[3, c], fields[4, c]
        slots.context[c], slots.counted[c] = fields[5, c], fields[6, c]
        slots.first[c] = first[c]
        if fields[0, c] == EMPTY:
            slots.vacant[vacant] = c
            vacant += 1
        elif fields[1, c] == NEVER:
            at = queued  # insertion by admission: there are few
            while at > 0 and slots.admitted[slots.prompts[at - 1]] > fields[2, c]:
                slots.prompts[at] = slots.prompts[at - 1]
                at -= 1
            slots.prompts[at] = c
            queued += 1
    return vacant, queued
