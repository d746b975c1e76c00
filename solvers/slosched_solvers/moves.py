"""What the annealer may do to an order; after arXiv 2504.14966, section 4.3, and beyond.

A move changes a stretch of the order in place, behind the `fixed` requests that never move, and
answers where the stretch begins and ends; the two are -1 if there is nothing to do.
"""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.kernel import kernel

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
    late: IntArray,
    first: FloatArray,
    latest: FloatArray,
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
    late
        Shape (n,), by row: ON_TIME under this order, LATE under it, or HOPELESS under any.
    first, latest
        Shape (n,), by row, s: first tokens under this order, and when work must begin at latest.
    """
    n = len(order)
    span = n - fixed
    if span < 2:
        return -1, -1
    wanted = LATE if kind in (RESCUE, EXCHANGE) else ON_TIME
    i = fixed + int(rng.random() * span)
    if kind in (GIVE_UP, RESCUE, EXCHANGE, DELAY):
        for _ in range(_TRIES):
            if late[order[i]] == wanted:
                break
            i = fixed + int(rng.random() * span)
        if late[order[i]] != wanted:
            return -1, -1
    length = 1
    if kind == SWAP:
        j = fixed + int(rng.random() * (span - 1))
        j += j >= i
    elif kind == BLOCK:
        length = min(2 + int(rng.random() * (LONGEST_BLOCK - 1)), n - i, span - 1)
        j = fixed + int(rng.random() * (span - length + 1))
    elif kind == EARLIER:  # "into the previous batch"
        j = fixed + max((i - fixed) // batch - 1, 0) * batch + int(rng.random() * batch)
    elif kind == LATER:  # "into the next batch"
        j = fixed + ((i - fixed) // batch + 1) * batch + int(rng.random() * batch)
    elif kind == GIVE_UP:
        j = n - 1
    elif kind in (RESCUE, DELAY):
        j = in_time(order, fixed, first, latest[order[i]])
        j += kind == RESCUE and j > fixed and rng.random() < 0.5
    elif kind == EXCHANGE:
        j = fixed + int(rng.random() * (in_time(order, fixed, first, latest[order[i]]) + 1 - fixed))
    else:
        j = fixed + int(rng.random() * (span - 1))
        j += j >= i
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
