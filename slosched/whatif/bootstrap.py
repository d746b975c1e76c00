"""How sure a difference is: a paired bootstrap over blocks of neighbours."""

from math import ceil, sqrt
from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A difference, and what it lies between with a probability of 95%."""

    difference: float
    low: float
    high: float


def paired_interval(
    before: FloatArray, after: FloatArray, weight: FloatArray, seed: int
) -> Interval:
    """Compare two outcomes of the same requests, in the weighted mean.

    Requests that queue together share their fate, so that they are drawn in blocks of about the
    square root of their number, at random places of the trace, whose end goes on at its begin
    (circular block bootstrap: Politis and Romano, 1992). Both outcomes of a request are drawn
    together: what makes it easy or hard cancels out.

    Parameters
    ----------
    before, after, weight
        Shape (n,), in order of arrival; n is at least 1.
    seed
        Of the draws.
    """
    n = len(weight)
    block = ceil(sqrt(n))
    starts = np.random.default_rng(seed).integers(n, size=(RESAMPLES, ceil(n / block)))
    gained = _sums(weight * (after - before), block)[starts].sum(axis=1)
    weights = _sums(weight, block)[starts].sum(axis=1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(gained / weights, [tail, 100 - tail])
    difference = float((weight * (after - before)).sum() / weight.sum())
    return Interval(difference, float(low), float(high))


def _sums(values: FloatArray, block: int) -> FloatArray:
    """Sum each block of neighbours, by its first one; shape (n,)."""
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[: block - 1])))))
    summed: FloatArray = sums[block:] - sums[:-block]
    return summed
