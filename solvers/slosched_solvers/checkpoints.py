"""Checkpoints of a rollout: where it can begin again, for orders that begin alike."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.kernel import inlined, kernel
from slosched_solvers.slots import EMPTY, FIELDS, NEVER, Slots

STRIDE = 8  # waiting requests between two marks
SLOTS_SAVED = 64  # in the time in which as many requests are run as are between two marks
FROM_SCRATCH = -1
COUNTERS, SUMS = 9, 7

# Of a mark: the waiting place that it stands at (-1 if there is none), the clock, and what the
# requests so far come to, with a floor under the latencies to come.
PLACE, NOW, MISSED, SLOPE, OVERDUE, FLOOR, ON_TIME = range(7)
MARK = 7
IN_FORCE, ON_TRIAL = 0, 1


class Checkpoints(NamedTuple):
    """The engine just before it first looks at some of the waiting requests of the order in force.

    All of it for each scenario of lengths, s. Marks are light checkpoints, to compare with: there
    are those of the order in force, and those of the one on trial.
    """

    every: int  # of so many marks is a checkpoint, too
    filled: BoolArray  # (s, k)
    counters: IntArray  # (s, k, COUNTERS)
    sums: FloatArray  # (s, k, SUMS)
    slots: IntArray  # (s, k, FIELDS, slots)
    first: FloatArray  # (s, k, slots)
    marks: FloatArray  # (s, 2, k, MARK)


def checkpoints(scenarios: int, waiting: int, slots: int) -> Checkpoints:
    """Make room for the checkpoints of an order; none is filled."""
    k = -(-waiting // STRIDE)
    return Checkpoints(
        max(slots // SLOTS_SAVED, 1),
        np.zeros((scenarios, k), dtype=np.bool_),
        np.empty((scenarios, k, COUNTERS), dtype=np.int64),
        np.empty((scenarios, k, SUMS)),
        np.empty((scenarios, k, FIELDS, slots), dtype=np.int64),
        np.empty((scenarios, k, slots)),
        np.full((scenarios, 2, k, MARK), -1.0),
    )


@kernel
def latest(saved: Checkpoints, s: int, place: int) -> int:
    """Return the last usable checkpoint before the waiting request at a place; -1 if none."""
    at = place // STRIDE
    while at >= 0 and not (saved.filled[s, at] and saved.counters[s, at, 0] <= place):
        at -= 1
    return at


@kernel
def commit(saved: Checkpoints, s: int, begin: int, place: int) -> None:
    """Put the order on trial in force: it began at a checkpoint, and differs from a place on."""
    saved.marks[s, IN_FORCE, begin + 1 :] = saved.marks[s, ON_TRIAL, begin + 1 :]
    for at in range(begin + 1, saved.filled.shape[1]):
        saved.filled[s, at] = saved.filled[s, at] and saved.counters[s, at, 0] <= place


@inlined
def save(
    saved: Checkpoints,
    s: int,
    at: int,
    slots: Slots,
    counters: tuple[int, ...],
    sums: tuple[float, ...],
) -> None:
    """Note the engine just before it looks at a place."""
    saved.filled[s, at] = True
    for field in range(COUNTERS):
        saved.counters[s, at, field] = counters[field]
    for field in range(SUMS):
        saved.sums[s, at, field] = sums[field]
    fields, first = saved.slots[s, at], saved.first[s, at]
    for c in range(len(slots.row)):
        fields[0, c], fields[1, c], fields[2, c] = slots.row[c], slots.due[c], slots.admitted[c]
        fields[3, c], fields[4, c] = slots.left[c], slots.prefill[c]
        fields[5, c], fields[6, c] = slots.context[c], slots.counted[c]
        first[c] = slots.first[c]


@inlined
def load(saved: Checkpoints, s: int, at: int, slots: Slots) -> tuple[int, int]:
    """Fill the slots from a checkpoint; how many are vacant, and compute prompts."""
    fields, first = saved.slots[s, at], saved.first[s, at]
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
            k = queued  # insertion by admission: there are few
            while k > 0 and slots.admitted[slots.prompts[k - 1]] > fields[2, c]:
                slots.prompts[k] = slots.prompts[k - 1]
                k -= 1
            slots.prompts[k] = c
            queued += 1
    return vacant, queued
