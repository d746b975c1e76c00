"""Bisection over whole numbers, for what is true from some number on."""

from collections.abc import Callable


def smallest(holds: Callable[[int], bool], most: int, start: int = 1) -> int | None:
    """Find the smallest number for which something holds, with O(log) questions.

    From `start` on numbers are doubled, or halved, until there is one below which it does not
    hold and one for which it does; then their distance is halved.

    Parameters
    ----------
    holds
        False up to some number and true above it; asked about a number more than once. Where that
        is not so, the answer is one for which it holds, and it does not hold for the number before.
    most
        The largest number to ask about; the smallest is 1.
    start
        Where to begin, from 1 to `most`.

    Returns
    -------
    The number, or None if it does not even hold for `most`.
    """
    low, high = (
        0,
        start,
    )  # it does not hold for low, as far as is known, and does for high in the end
    if holds(start):
        while high > 1 and holds(high // 2):
            high //= 2
        low = high // 2
    else:
        while not holds(high):
            if high == most:
                return None
            low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
