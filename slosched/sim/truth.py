"""How long steps really take: as the latency model says, or not quite."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from slosched.core.detailed_latency import StepLatency
from slosched.core.types import FloatArray


class StepTimes(Protocol):
    """Tells the simulated engine's clock how far each step moves it."""

    @property
    def latency(self) -> StepLatency:
        """The model that steps follow."""
        ...

    def factors(self, count: int) -> FloatArray:
        """How many times as long as the model says each of the next `count` steps takes."""
        ...


@dataclass(frozen=True)
class ExactSteps:
    """Steps that take what the model says."""

    latency: StepLatency

    def factors(self, count: int) -> FloatArray:
        """Return ones."""
        return np.ones(count)


@dataclass(frozen=True)
class NoisySteps:
    """Steps that take what the model says times a random factor: lognormal, by the seed.

    Parameters
    ----------
    latency
        The model.
    slower
        Median of the factor.
    sigma
        Standard deviation of its logarithm. The mean is `slower * exp(sigma**2 / 2)`.
    seed
        Of the factors.
    """

    latency: StepLatency
    slower: float = 1.0
    sigma: float = 0.0
    seed: int = 0
    _rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rng", np.random.default_rng(self.seed))

    def factors(self, count: int) -> FloatArray:
        """Draw the next factors; each call goes on where the last one ended."""
        drawn: FloatArray = np.exp(self.sigma * self._rng.standard_normal(count))
        return self.slower * drawn
