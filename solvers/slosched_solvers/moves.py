"""What the annealer may do to an order; after arXiv 2504.14966, section 4.3, and beyond.

A move changes a stretch of the order in place, behind the `fixed` requests that never move, and
answers where the stretch begins and ends; the two are -1 if there is nothing to do.
"""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.kernel import kernel
from slosched_solvers.requests import BEGUN, FINISH_BY, FIRST_BY, LATEST, PACE

SWAP, INSERT, BLOCK, EARLIER, LATER, GIVE_UP, RESCUE, EXCHANGE, DELAY = range(9)
KINDS = 9
LONGEST_BLOCK = 8
ON_TIME, LATE, HOPELESS = 0, 1, 2
_TRIES = 8  # at finding a request of the wanted kind at random


@kernel
def move(
    kind: int,
    order: IntArray,
    before: IntArray,
    fixed: int,
    batch: int,
    times: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Change an order by a random move of a kind.

    Parameters
    ----------
    order
        Shape (n,), changed in place.
    before
        Shape (n,): what was in the stretch is kept here.
    fixed
        Requests at the front that never move.
    batch
        Requests that the engine runs at a time.
    times
        Shape (n, TIMES), by row, see `Requests`.
    first, finish
        Shape (n,), by row, s: first and last tokens under this order.
    """
    n = len(order)
    span = n - fixed
    if span < 2:
        return -1, -1
    wanted = LATE if kind in (RESCUE, EXCHANGE) else ON_TIME
    i = fixed + int(rng.random() * span)
    if kind in (GIVE_UP, RESCUE, EXCHANGE, DELAY):
        for _ in range(_TRIES):
            if state(times, first, finish, order[i]) == wanted:
                break
            i = fixed + int(rng.random() * span)
        if state(times, first, finish, order[i]) != wanted:
            return -1, -1
    length = 1
    if kind in (SWAP, INSERT, BLOCK):
        j = fixed + int(rng.random() * (span - 1))
        j += j >= i
        if kind == BLOCK:
            length = min(2 + int(rng.random() * (LONGEST_BLOCK - 1)), n - i, span - 1)
    elif kind == EARLIER:  # "into the previous batch"
        j = fixed + max((i - fixed) // batch - 1, 0) * batch + int(rng.random() * batch)
    elif kind == LATER:  # "into the next batch"
        j = fixed + ((i - fixed) // batch + 1) * batch + int(rng.random() * batch)
    elif kind == GIVE_UP:
        j = n - 1
    elif kind in (RESCUE, DELAY):
        j = in_time(order, fixed, first, times[order[i], LATEST])
        j += kind == RESCUE and j > fixed and rng.random() < 0.5
    else:  # EXCHANGE
        before_it = in_time(order, fixed, first, times[order[i], LATEST]) + 1 - fixed
        j = fixed + int(rng.random() * before_it)
    j = min(max(j, fixed), n - length)
    if j == i:
        return -1, -1
    low, high = min(i, j), max(i, j) + length - 1
    before[low : high + 1] = order[low : high + 1]
    if kind in (SWAP, EXCHANGE):
        order[low], order[high] = before[high], before[low]
        return low, high
    if i < j:
        order[low : low + j - i] = before[i + length : j + length]
    else:
        order[j + length : high + 1] = before[j:i]
    order[j : j + length] = before[i : i + length]
    return low, high


@kernel
def state(times: FloatArray, first: FloatArray, finish: FloatArray, i: int) -> int:
    """Whether a request is on time, late, or late under any order."""
    if times[i, LATEST] < 0:
        return HOPELESS
    begun = min(times[i, BEGUN], first[i])
    late = begun > times[i, FIRST_BY] or finish[i] > times[i, FINISH_BY]
    return LATE if late or finish[i] - begun > times[i, PACE] else ON_TIME


@kernel
def in_time(order: IntArray, fixed: int, first: FloatArray, latest: float) -> int:
    """Find the last place whose request, in this order, has its first token before a time.

    First tokens come in about the order of admission, so that halving finds a place about there.
    """
    low, high = fixed, len(order) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if first[order[middle]] <= latest:
            low = middle
        else:
            high = middle - 1
    return low
