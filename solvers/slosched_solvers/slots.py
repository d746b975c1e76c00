"""The engine's slots as a rollout keeps them: fields of those that run, and who finishes next."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.kernel import kernel

NEVER = np.iinfo(np.int64).max
EMPTY = -1
BLOCK = 16  # slots whose next finish is kept: looking through blocks, then in one, beats a heap
FIELDS = 7


class Slots(NamedTuple):
    """Scratch memory of a rollout; a slot's number means nothing."""

    row: IntArray  # (slots,): who runs there; EMPTY if nobody does
    due: IntArray  # step of its last token; NEVER while its prompt is computed
    admitted: IntArray  # order of admission
    left: IntArray  # output tokens to come when it was admitted or began to decode
    prefill: IntArray
    context: IntArray  # when it was admitted or began to decode
    counted: IntArray  # 1 if it is among the missed already
    first: FloatArray  # of its first token, s; inf if that is to come
    soonest: IntArray  # (blocks,): the first due of each block
    vacant: IntArray  # (slots,): stack of the empty ones
    prompts: IntArray  # (slots,): queue of those whose prompts are computed, by admission
    returned: IntArray  # (4, n): stack of preempted requests: row, left, prefill, counted
    returned_first: FloatArray  # (n,)


def make_slots(slots: int, n: int) -> Slots:
    """Make room for rollouts of n requests."""
    row, due, admitted, left, prefill, context, counted = np.empty((FIELDS, slots), dtype=np.int64)
    return Slots(
        row,
        due,
        admitted,
        left,
        prefill,
        context,
        counted,
        first=np.empty(slots),
        soonest=np.empty(-(-slots // BLOCK), dtype=np.int64),
        vacant=np.empty(slots, dtype=np.int64),
        prompts=np.empty(slots, dtype=np.int64),
        returned=np.empty((4, n), dtype=np.int64),
        returned_first=np.empty(n),
    )


@kernel
def look_for_soonest(due: IntArray, soonest: IntArray) -> int:
    """Note the first due of each block anew; return the first of all."""
    first = NEVER
    for block in range(len(soonest)):
        soonest[block] = NEVER
        for c in range(block * BLOCK, min(block * BLOCK + BLOCK, len(due))):
            soonest[block] = min(soonest[block], due[c])
        first = min(first, soonest[block])
    return first


@kernel
def last_admitted(slots: Slots) -> int:
    """Return the slot that was taken last."""
    last = EMPTY
    for c in range(len(slots.row)):
        newer = slots.row[c] != EMPTY and (
            last == EMPTY or slots.admitted[c] > slots.admitted[last]
        )
        last = c if newer else last
    return last


@kernel
def put_back(slots: Slots, back: int, c: int, i: int, held: int) -> None:
    """Let a preempted request wait again, for its whole context."""
    slots.returned[0, back], slots.returned[1, back] = i, slots.left[c]
    slots.returned[2, back] = slots.prefill[c] + held
    slots.returned[3, back] = slots.counted[c]
    slots.returned_first[back] = slots.first[c]
