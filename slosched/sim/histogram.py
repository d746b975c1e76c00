"""Spreads of times in memory that does not grow: a histogram over bins of equal ratio."""

from math import log, sqrt

import numpy as np
from numba import njit

from slosched.core.types import FloatArray, IntArray

LEAST = 1e-6  # s; all that is shorter counts as this long
RATIO = 1.005  # between two edges: a percentile is right within 0.25%
BINS = 6000  # up to 10**7 s


@njit(cache=True)
def bin_of(seconds: float) -> int:
    """Say in which bin a time falls."""
    if not seconds > LEAST:
        return 0
    return min(int(np.log(seconds / LEAST) / np.log(RATIO)), BINS - 1)


class Histogram:
    """Times of which the count, the mean and the spread are exact, and percentiles nearly so.

    Attributes
    ----------
    counts
        Shape (BINS,).
    total, squares
        Sums of the times and of their squares, in s and s^2.
    """

    def __init__(self) -> None:
        self.counts: IntArray = np.zeros(BINS, dtype=np.int64)
        self.total = self.squares = 0.0

    @property
    def count(self) -> int:
        """How many times were added."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean, s; of nothing, 0."""
        return self.total / max(self.count, 1)

    @property
    def std(self) -> float:
        """The standard deviation, s."""
        return sqrt(max(self.squares / max(self.count, 1) - self.mean**2, 0.0))

    def add(self, seconds: float) -> None:
        """Take note of a time."""
        self.counts[bin_of(seconds)] += 1
        self.total += seconds
        self.squares += seconds * seconds

    def add_all(self, seconds: FloatArray) -> None:
        """Take note of some times, shape (n,)."""
        for one in seconds.tolist():
            self.add(one)

    def percentile(self, percent: float) -> float:
        """Time that so many percent do not exceed, s: the middle of its bin."""
        cumulative = np.cumsum(self.counts)
        rank = max(percent / 100 * cumulative[-1], 1)
        return float(CENTRES[np.searchsorted(cumulative, rank)])

    def spread(self, name: str) -> dict[str, float | None]:
        """Return mean, median, standard deviation and 99th percentile in ms; None of nothing."""
        some = self.count > 0
        return {
            f"mean_{name}_ms": self.mean * 1e3 if some else None,
            f"median_{name}_ms": self.percentile(50) * 1e3 if some else None,
            f"std_{name}_ms": self.std * 1e3 if some else None,
            f"p99_{name}_ms": self.percentile(99) * 1e3 if some else None,
        }


CENTRES: FloatArray = LEAST * np.exp((np.arange(BINS) + 0.5) * log(RATIO))
