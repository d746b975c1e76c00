"""Labels beside the ends of curves, moved apart so that all can be read."""

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Place labels near where they are wanted, at least `gap` apart, between `low` and `high`.

    Labels that are too near form a block around the mean of their places; blocks that meet merge.

    Returns
    -------
    Places in the order of `wanted`; equal wishes keep their order. Where not all fit, they are
    nearer than `gap`.
    """
    n = len(wanted)
    gap = min(gap, (high - low) / max(n - 1, 1))
    order = sorted(range(n), key=wanted.__getitem__)
    blocks: list[list[float]] = []  # [sum of wished places of their first label, labels]
    for k, i in enumerate(order):
        # Less its distance from the first label: a block's wishes are for one and the same place.
        blocks.append([wanted[i] - k * gap, 1])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            total, labels = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += labels
    firsts = [_mean(block) for block in blocks for _ in range(int(block[1]))]
    top = high - (n - 1) * gap
    places = [0.0] * n
    for k, i in enumerate(order):
        places[i] = min(max(firsts[k], low), top) + k * gap
    return places


def _mean(block: Sequence[float]) -> float:
    return block[0] / block[1]
