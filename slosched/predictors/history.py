"""Lengths by experience: how long answers of the same class have been."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.thirds import left_to_say

BINS = 96
RATIO = 2 ** (1 / 6)  # between bin edges: 1 token to 65,536, within 12%
CENTRES: FloatArray = np.power(RATIO, np.arange(BINS, dtype=np.float64))
# Past all experience, P(length > x) = produced / x: what is to come, in units of what is out, at
# the medians of the thirds, as the last one has no mean.
BEYOND = np.array([0.2, 1.0, 5.0])


@dataclass(frozen=True, slots=True)
class History:
    """Expect what requests of the class had left to say once they had said as much.

    Thirds of length - produced among the longer ones, over a histogram of finished lengths per
    class, with exponential forgetting; a class without experience starts from `prior_tokens`. Of
    an answer longer than any before, as much again is expected, as likely more as less.

    Parameters
    ----------
    prior_tokens
        Mean of the exponential distribution of lengths that stands in for experience.
    prior_weight
        Finished requests that the prior counts for.
    half_life
        Finished requests of a class after which an observation counts half.
    """

    kind: Literal["history"] = "history"
    prior_tokens: float = 200.0
    prior_weight: float = 4.0
    half_life: float = 1000.0
    _counts: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("prior_tokens", "prior_weight", "half_life"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn from a request that came to its end."""
        counts = self._histogram(request.slo_class)
        counts *= 0.5 ** (1 / self.half_life)
        counts[_bin(output_tokens)] += 1.0
        self._counts[request.slo_class] = counts

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect so many more tokens, shape (n, 3): at most what `max_tokens` allows."""
        left = np.empty((len(requests), len(BEYOND)))
        for slo_class, members in _by_class(requests).items():
            cumulative = np.cumsum(self._histogram(slo_class))
            left[members] = left_to_say(CENTRES, cumulative, produced[members])
        as_much_again = np.maximum(produced, 1)[:, None] * BEYOND
        left = np.where(np.isnan(left), as_much_again, left)
        allowed = np.array([inf if r.max_tokens is None else r.max_tokens for r in requests])
        return np.clip(left, 1.0, np.maximum(allowed - produced, 1.0)[:, None])

    def _histogram(self, slo_class: str) -> FloatArray:
        counts: FloatArray | None = self._counts.get(slo_class)
        if counts is None:
            # Exponential lengths around the prior: the memoryless guess.
            density = np.exp(-CENTRES / self.prior_tokens) * CENTRES
            counts = self.prior_weight * density / density.sum()
        return counts


def _by_class(requests: Sequence[Request]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, request in enumerate(requests):
        members.setdefault(request.slo_class, []).append(i)
    return members


def _bin(output_tokens: int) -> int:
    return int(min(np.rint(np.log(max(output_tokens, 1)) / np.log(RATIO)), BINS - 1))
