"""When the requests of a trace arrive: as recorded, or from a random process."""

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from slosched.core.types import FloatArray


@dataclass(frozen=True, slots=True)
class Recorded:
    """The trace's own times."""

    kind: Literal["recorded"] = "recorded"

    def times(
        self,
        recorded: FloatArray,
        rng: np.random.Generator,  # noqa: ARG002
        last: float | None = None,  # noqa: ARG002
    ) -> FloatArray:
        """Return the recorded times, s."""
        return recorded


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals: the gaps between them are exponential.

    Parameters
    ----------
    rate
        Requests per second.

    Raises
    ------
    ValueError
        If it is not positive and finite.
    """

    rate: float
    kind: Literal["poisson"] = "poisson"

    def __post_init__(self) -> None:
        _check("rate", self.rate)

    def times(
        self, recorded: FloatArray, rng: np.random.Generator, last: float | None = None
    ) -> FloatArray:
        """Draw as many times as were recorded, s, after the `last` one; without it, from 0 on."""
        return _from_gaps(rng.exponential(1 / self.rate, len(recorded)), last)


@dataclass(frozen=True, slots=True)
class Gamma:
    """Bursty arrivals: the gaps between them follow a gamma distribution.

    Parameters
    ----------
    rate
        Requests per second.
    cv
        Coefficient of variation of the gaps: 1 is Poisson, above 1 bursty, below 1 steady.

    Raises
    ------
    ValueError
        If either is not positive and finite.
    """

    rate: float
    cv: float
    kind: Literal["gamma"] = "gamma"

    def __post_init__(self) -> None:
        _check("rate", self.rate)
        _check("cv", self.cv)

    def times(
        self, recorded: FloatArray, rng: np.random.Generator, last: float | None = None
    ) -> FloatArray:
        """Draw as many times as were recorded, s, after the `last` one; without it, from 0 on."""
        # A gamma's CV is 1/sqrt(shape), its mean shape * scale.
        shape = self.cv**-2
        return _from_gaps(rng.gamma(shape, 1 / (self.rate * shape), len(recorded)), last)


Arrivals = Recorded | Poisson | Gamma


def _from_gaps(gaps: FloatArray, last: float | None) -> FloatArray:
    if last is None:
        gaps[:1], last = 0.0, 0.0
    return np.cumsum(np.append(last, gaps))[1:]


def _check(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
