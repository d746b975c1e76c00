"""Lengths that were seen, in few numbers: how often each length, to within a twelfth."""

from collections.abc import Hashable

import numpy as np

from slosched.core.types import FloatArray

BINS = 96
RATIO = 2 ** (1 / 6)  # between bin centres: 1 token to 58,000, within 6%
CENTRES: FloatArray = np.power(RATIO, np.arange(BINS, dtype=np.float64))
MOST_KEYS = 4096


class LengthSketch:
    """Histograms of lengths with bins of equal ratio, which forget: DDSketch (arXiv 1908.10693).

    Quantiles come out within half a bin, however many lengths there were, and histograms add up.
    Of more than `MOST_KEYS` keys those are dropped that nothing was heard of for longest.

    Parameters
    ----------
    half_life
        Lengths of a key after which an older one counts half.
    """

    def __init__(self, half_life: float) -> None:
        self._keep = 0.5 ** (1 / half_life)
        self._counts: dict[Hashable, FloatArray] = {}
        self._ever: dict[Hashable, int] = {}

    def add(self, key: Hashable, tokens: int) -> None:
        """Count one more length."""
        # Out and in again: the order of the keys is that of the last time.
        counts = self._counts.pop(key, None)
        counts = np.zeros(BINS) if counts is None else counts * self._keep
        counts[bin_of(tokens)] += 1.0
        self._counts[key] = counts
        self._ever[key] = self._ever.get(key, 0) + 1
        if len(self._counts) > MOST_KEYS:
            oldest = next(iter(self._counts))
            del self._counts[oldest], self._ever[oldest]

    def counts(self, key: Hashable) -> FloatArray:
        """How often each length was seen, shape (BINS,); not to be written to."""
        return self._counts.get(key, _NOTHING)

    def faded(self, key: Hashable) -> float:
        """Return what is left of something that was there before the first length of a key."""
        return float(self._keep ** self._ever.get(key, 0))


_NOTHING: FloatArray = np.zeros(BINS)


def bin_of(tokens: int) -> int:
    """Return the bin of a length."""
    return int(min(np.rint(np.log(max(tokens, 1)) / np.log(RATIO)), BINS - 1))
