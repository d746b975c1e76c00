"""How long steps really take: as the latency model says, or not quite."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from slosched.core.latency import LinearLatency


class StepTimes(Protocol):
    """Tells the simulated engine's clock how far a step moves it."""

    def step(self, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Seconds of one step."""
        ...


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

    latency: LinearLatency
    slower: float = 1.0
    sigma: float = 0.0
    seed: int = 0
    _rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rng", np.random.default_rng(self.seed))

    def step(self, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Seconds of one step; each call draws anew."""
        believed = self.latency.step(prefill_tokens, sequences, context_tokens)
        return believed * self.slower * float(np.exp(self.sigma * self._rng.standard_normal()))
