"""Lengths by experience: how long answers of the same class and tenant have been."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.sketch import CENTRES, LengthSketch
from slosched.predictors.thirds import left_to_say

# Past all experience, P(length > x) = produced / x: what is to come, in units of what is out, at
# the medians of the thirds, as the last one has no mean.
BEYOND = np.array([0.2, 1.0, 5.0])


@dataclass(frozen=True, slots=True)
class History:
    """Expect what requests like it had left to say once they had said as much.

    Thirds of length - produced among the longer ones, over a histogram of finished lengths, with
    exponential forgetting. A tenant starts from what is known of the class, a class from
    `prior_tokens`. Of an answer longer than any before, as much again is expected, as likely more
    as less.

    Parameters
    ----------
    prior_tokens
        Mean of the exponential distribution of lengths that stands in for experience.
    prior_weight
        Finished requests that the prior counts for.
    tenant_weight
        Finished requests of a tenant that those of all others in the class count for.
    half_life
        Finished requests of a class, or of a tenant in it, after which an observation counts half.
    """

    kind: Literal["history"] = "history"
    prior_tokens: float = 200.0
    prior_weight: float = 4.0
    tenant_weight: float = 20.0
    half_life: float = 1000.0
    _seen: Any = field(init=False, repr=False, compare=False)  # LengthSketch

    def __post_init__(self) -> None:
        for name in ("prior_tokens", "prior_weight", "tenant_weight", "half_life"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        object.__setattr__(self, "_seen", LengthSketch(self.half_life))

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn from a request that came to its end."""
        self._seen.add(request.slo_class, output_tokens)
        if request.tenant:
            self._seen.add((request.slo_class, request.tenant), output_tokens)

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect so many more tokens, shape (n, 3): at most what `max_tokens` allows."""
        left, prior = np.empty((len(requests), len(BEYOND))), self._prior
        for (slo_class, tenant), members in _alike(requests).items():
            weight = self.prior_weight * self._seen.faded(slo_class)
            cumulative = np.cumsum(self.lengths(slo_class, tenant, prior, weight))
            left[members] = left_to_say(CENTRES, cumulative, produced[members])
        as_much_again = np.maximum(produced, 1)[:, None] * BEYOND
        left = np.where(np.isnan(left), as_much_again, left)
        return allowed(left, requests, produced)

    def lengths(self, slo_class: str, tenant: str, prior: FloatArray, weight: float) -> FloatArray:
        """How likely each of `CENTRES` is as the length of an answer, adding up to 1.

        Parameters
        ----------
        prior
            What would be said without experience, adding up to 1.
        weight
            Finished requests that this counts for.
        """
        of_class = _mixed(self._seen.counts(slo_class), prior, weight)
        if not tenant:
            return of_class
        return _mixed(self._seen.counts((slo_class, tenant)), of_class, self.tenant_weight)

    @property
    def _prior(self) -> FloatArray:
        """Exponential lengths: the memoryless guess."""
        density = np.exp(-CENTRES / self.prior_tokens) * CENTRES
        likely: FloatArray = density / density.sum()
        return likely


def allowed(left: FloatArray, requests: Sequence[Request], produced: IntArray) -> FloatArray:
    """Hold tokens to come, shape (n, 3), to at least 1 and at most what `max_tokens` allows."""
    most = np.array([inf if r.max_tokens is None else r.max_tokens for r in requests])
    return np.clip(left, 1.0, np.maximum(most - produced, 1.0)[:, None])


def _mixed(counts: FloatArray, prior: FloatArray, weight: float) -> FloatArray:
    mixed: FloatArray = (counts + weight * prior) / (counts.sum() + weight)
    return mixed


def _alike(requests: Sequence[Request]) -> dict[tuple[str, str], list[int]]:
    members: dict[tuple[str, str], list[int]] = {}
    for i, request in enumerate(requests):
        members.setdefault((request.slo_class, request.tenant), []).append(i)
    return members
