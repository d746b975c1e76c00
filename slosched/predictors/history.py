"""Lengths by experience: how long answers of the same class have been."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray

BINS = 96
RATIO = 2 ** (1 / 6)  # between bin edges: 1 token to 65,536, within 12%
CENTRES: FloatArray = np.power(RATIO, np.arange(BINS, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class History:
    """Expect what requests of the class had left to say once they had said as much.

    E[length - produced | length > produced] over a histogram of finished lengths per class, with
    exponential forgetting; a class without experience starts from `prior_tokens`.

    Parameters
    ----------
    prior_tokens
        Expected output tokens before anything was observed.
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
        """Expect this many more tokens: at least 1, and at most what `max_tokens` allows."""
        left = np.empty(len(requests))
        for i, request in enumerate(requests):
            left[i] = self._expected(self._histogram(request.slo_class), int(produced[i]))
            if request.max_tokens is not None:
                left[i] = min(left[i], request.max_tokens - produced[i])
        return np.maximum(left, 1.0)

    def _histogram(self, slo_class: str) -> FloatArray:
        counts: FloatArray | None = self._counts.get(slo_class)
        if counts is None:
            # Exponential lengths around the prior: the memoryless guess.
            density = np.exp(-CENTRES / self.prior_tokens) * CENTRES
            counts = self.prior_weight * density / density.sum()
        return counts

    @staticmethod
    def _expected(counts: FloatArray, produced: int) -> float:
        longer = produced < CENTRES
        weight = counts[longer].sum()
        if weight < 1e-6:
            return float(max(produced, 1))  # past all experience: as much again
        return float((counts[longer] * (CENTRES[longer] - produced)).sum() / weight)


def _bin(output_tokens: int) -> int:
    return int(min(np.rint(np.log(max(output_tokens, 1)) / np.log(RATIO)), BINS - 1))
