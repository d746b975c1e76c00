"""True lengths, blurred by the error that a proxy model was published to have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.seed import check_seed
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.thirds import left_to_say

CUTS = np.array([42, 141, 294, 503])  # tokens, between the five classes of arXiv 2404.08509
CLASSES = len(CUTS) + 1


@dataclass(frozen=True)
class NoisyClasses:
    """Guess each answer's length class, as wrongly as SSJF's proxy model, for studies offline.

    By default as often right as the published predictions are (arXiv 2404.08509): 60.0% exact,
    93.1% within one class, the others farther off. Each request has one guess, drawn by its id.
    What is said of it follows from that guess alone: the lengths of the whole trace, weighted by
    how often answers of their class are guessed to be of this one, and longer than what is out.

    Parameters
    ----------
    exact
        Share of the guesses that are right.
    within_one
        Share of the guesses that are right or off by one class.
    seed
        Of the guesses.
    lengths
        Output tokens by request id, of the whole trace.
    """

    kind: Literal["noisy_classes"] = "noisy_classes"
    exact: float = 0.6
    within_one: float = 0.931
    seed: int = 0
    lengths: Mapping[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.exact <= self.within_one:
            raise ValueError(f"exact must be from 0 to within_one, got {self.exact}")
        if not self.within_one <= 1:
            raise ValueError(f"within_one must be at most 1, got {self.within_one}")
        check_seed(self.seed)

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect so many more tokens, shape (n, 3); KeyError for a request that it does not know.

        An answer that has outgrown its class, and all that are taken for it, is any longer one.
        """
        guesses = np.array([self.guess(request.request_id) for request in requests], dtype=int)
        left: FloatArray = np.full((len(requests), 3), np.nan)
        for k in np.unique(guesses):
            members = guesses == k
            left[members] = left_to_say(self._sorted, self._cumulative[k], produced[members])
        outgrown = np.isnan(left[:, 0])
        left[outgrown] = left_to_say(self._sorted, self._everybody, produced[outgrown])
        return np.where(np.isnan(left), 1.0, np.maximum(left, 1.0))

    def guess(self, request_id: str) -> int:
        """Class that a request is taken for, from 0 for the shortest."""
        truth = np.searchsorted(CUTS, self.lengths[request_id], side="right")
        key = f"{self.seed}:{request_id}".encode()
        draw = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") / 2**64
        below = np.cumsum(self.confusion[truth])[:-1]
        return int(np.searchsorted(below, draw, side="right"))

    @cached_property
    def confusion(self) -> FloatArray:
        """Probability of each guess (column) for each class (row)."""
        table = np.empty((CLASSES, CLASSES))
        for truth in range(CLASSES):
            off = np.abs(np.arange(CLASSES) - truth)
            near, far = off == 1, off > 1
            table[truth] = np.where(off == 0, self.exact, 0.0)
            table[truth, near] = (self.within_one - self.exact) / near.sum()
            table[truth, far] = (1.0 - self.within_one) / far.sum()
        return table

    @cached_property
    def _sorted(self) -> FloatArray:
        return np.sort(np.array(list(self.lengths.values()), dtype=float))

    @cached_property
    def _cumulative(self) -> FloatArray:
        """Weight of all lengths up to each, for each guess; shape (CLASSES, lengths)."""
        classes = np.searchsorted(CUTS, self._sorted, side="right")
        weights: FloatArray = self.confusion[classes].T
        return np.cumsum(weights, axis=1)

    @cached_property
    def _everybody(self) -> FloatArray:
        return np.arange(1, len(self._sorted) + 1, dtype=np.float64)
