"""How often a simulated queue plans, how long that takes it, and how much it hears of answers."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of the queue itself; those of the engines are their own.

    Parameters
    ----------
    plan_every_s
        Seconds from one plan to the next at least, as `fleet.plan_every_ms` has them.
    plan_s
        Seconds that a plan takes in virtual time: it is in force so much later than the state that
        it is for. None for as many as it took here, by a real clock; then no two runs are alike.
    heard_every
        Tokens of an answer from one of which the queue hears to the next; it hears of the first
        and of the last in any case. A proxy that reads streams hears of each; one that sees no
        more than their headers and their ends, of none in between.

    Raises
    ------
    ValueError
        If a figure is out of bounds.
    """

    plan_every_s: float = 0.05
    plan_s: float | None = None
    heard_every: float = 1

    def __post_init__(self) -> None:
        if not 0 <= self.plan_every_s < inf:
            raise ValueError(f"plan_every_s must not be negative, got {self.plan_every_s}")
        if self.plan_s is not None and not 0 <= self.plan_s < inf:
            raise ValueError(f"plan_s must not be negative, got {self.plan_s}")
        if not self.heard_every >= 1:
            raise ValueError(f"heard_every must be at least 1, got {self.heard_every}")
