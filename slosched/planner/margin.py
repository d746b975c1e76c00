"""The safety margin: by how much plans come true later than they say."""

from dataclasses import dataclass
from math import exp, log
from typing import Literal, Protocol


class MarginRule(Protocol):
    """How the margin follows what is seen."""

    @property
    def first(self) -> float:
        """The factor before anything was seen."""
        ...

    def after(self, factor: float, stretch: float) -> float:
        """Return the next factor.

        Parameters
        ----------
        factor
            The one in force.
        stretch
            What something took, over what the latency model by itself made of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Expect steps to take `factor` times what the latency model says.

    Raises
    ------
    ValueError
        If `factor` is below 1.
    """

    kind: Literal["fixed"] = "fixed"
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise ValueError(f"factor must be at least 1, got {self.factor}")

    @property
    def first(self) -> float:
        """The factor."""
        return self.factor

    def after(self, factor: float, stretch: float) -> float:  # noqa: ARG002 - a rule's signature
        """Return the same again."""
        return factor


@dataclass(frozen=True, slots=True)
class Learned:
    """Follow a quantile of how late plans come true, by small steps.

    Robbins and Monro (1951) on the quantile loss, on the logarithm: up by `rate * quantile` after
    something that took longer than reckoned with, down by `rate * (1 - quantile)` after something
    that did not. How much longer does not matter, so that outliers do not.

    Parameters
    ----------
    quantile
        Share of what plans say that shall come true in time.
    most
        The factor stays between 1 and this.
    rate
        Of learning.

    Raises
    ------
    ValueError
        If a parameter is out of its bounds.
    """

    kind: Literal["learned"] = "learned"
    quantile: float = 0.6
    most: float = 2.0
    rate: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must be between 0 and 1, got {self.quantile}")
        if not self.most >= 1:
            raise ValueError(f"most must be at least 1, got {self.most}")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1, got {self.rate}")

    @property
    def first(self) -> float:
        """No margin."""
        return 1.0

    def after(self, factor: float, stretch: float) -> float:
        """Move a small step towards the quantile."""
        move = self.rate * (self.quantile - (stretch <= factor))
        return exp(min(max(log(factor) + move, 0.0), log(self.most)))


class Margin:
    """The factor by which the latency model is slowed down for those who plan.

    Attributes
    ----------
    factor
        At least 1.
    """

    def __init__(self, rule: MarginRule) -> None:
        self.factor = rule.first
        self._rule = rule

    def learn(self, stretch: float) -> None:
        """Take note of how much longer something took than the latency model had it."""
        self.factor = self._rule.after(self.factor, stretch)
