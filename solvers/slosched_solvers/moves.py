"""What the annealer may do to an order; after arXiv 2504.14966, section 4.3, and beyond.

A move changes a stretch of the order in place, behind the `fixed` requests that never move, and
answers where the stretch begins and ends; the two are -1 if there is nothing to do. Moves that
rescue somebody look for one who costs the others little, moves that give somebody up for one who
costs them much.
"""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.kernel import kernel
from slosched_solvers.requests import BEGUN, FINISH_BY, FIRST_BY, LATEST, PACE, TOLL

SWAP, INSERT, BLOCK, EARLIER, LATER, GIVE_UP, RESCUE, EXCHANGE, DELAY, TRADE = range(10)
KINDS = 10
EXPECTED = np.array([4, 2, 1, 2, 2, 2, 8, 8, 2, 8]) / 100  # to pay, before any was tried
LONGEST_BLOCK = 8
ON_TIME, LATE, HOPELESS = 0, 1, 2
_TRIES = 8  # at finding requests of the wanted state at random
_COMPARED = 3  # of those that are found


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
    if kind == TRADE:
        return trade(order, before, fixed, times, first, finish, rng)
    i = fixed + int(rng.random() * span)
    if kind in (RESCUE, EXCHANGE):
        i = drawn(LATE, order, fixed, n, times, first, finish, rng)
    elif kind in (GIVE_UP, DELAY):
        i = drawn(ON_TIME, order, fixed, n, times, first, finish, rng)
    if i < 0:
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
    else:
        j = in_time(order, fixed, times, first, finish, order[i])
        if kind == RESCUE:
            j += j > fixed and rng.random() < 0.5
        elif kind == EXCHANGE:
            j = drawn(ON_TIME, order, fixed, j + 1, times, first, finish, rng)
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
def trade(
    order: IntArray,
    before: IntArray,
    fixed: int,
    times: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Give up one request for two."""
    n = len(order)
    one = drawn(LATE, order, fixed, n, times, first, finish, rng)
    two = drawn(LATE, order, fixed, n, times, first, finish, rng)
    if one < 0 or two < 0 or one == two:
        return -1, -1
    to_one = in_time(order, fixed, times, first, finish, order[one])
    to_two = in_time(order, fixed, times, first, finish, order[two])
    if to_one > one or to_two > two:
        return -1, -1
    given = drawn(ON_TIME, order, fixed, max(to_one, to_two) + 1, times, first, finish, rng)
    if given < 0:
        return -1, -1
    low = min(to_one, to_two, given)
    before[low:] = order[low:]
    at = low
    for k in range(low, n):
        if k == to_one:
            order[at] = before[one]
            at += 1
        if k == to_two:
            order[at] = before[two]
            at += 1
        if k not in (one, two, given):
            order[at] = before[k]
            at += 1
    order[at] = before[given]
    return low, n - 1


@kernel
def drawn(
    wanted: int,
    order: IntArray,
    fixed: int,
    end: int,
    times: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    rng: np.random.Generator,
) -> int:
    """Find the place of somebody late, or on time, before an end; -1 if there is none.

    Of a few it is the late one with the lowest toll, or the one on time with the highest. "None"
    is a guess, from a few tries.
    """
    found, best = 0, -1
    for _ in range(_TRIES):
        k = fixed + int(rng.random() * (end - fixed))
        if state(times, first, finish, order[k]) == wanted:
            found += 1
            gain = times[order[k], TOLL] - times[order[best], TOLL] if best >= 0 else 0.0
            if best < 0 or (gain < 0.0 if wanted == LATE else gain > 0.0):
                best = k
        if found == _COMPARED:
            break
    return best


@kernel
def state(times: FloatArray, first: FloatArray, finish: FloatArray, i: int) -> int:
    """Whether a request is on time, late, or late under any order."""
    if times[i, LATEST] < 0:
        return HOPELESS
    begun = min(times[i, BEGUN], first[i])
    late = begun > times[i, FIRST_BY] or finish[i] > times[i, FINISH_BY]
    return LATE if late or finish[i] - begun > times[i, PACE] else ON_TIME


@kernel
def in_time(
    order: IntArray,
    fixed: int,
    times: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    i: int,
) -> int:
    """Find the last place at which a request has its first token in time.

    From there its answer is taken to need as long as in this order. First tokens come in about
    the order of admission, so that halving finds a place about there.
    """
    latest = due(times, i, finish[i] - first[i])
    low, high = fixed, len(order) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if first[order[middle]] <= latest:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def due(times: FloatArray, i: int, answering: float) -> float:
    """Tell when a request's first token must come, given how long its answer takes from there."""
    if times[i, BEGUN] < np.inf:
        return times[i, LATEST]
    return min(times[i, FIRST_BY], times[i, FINISH_BY] - answering)
