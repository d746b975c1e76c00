"""The power of two choices (Mitzenmacher, 2001): the better of two replicas drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal

from slosched.core.request import Request
from slosched.core.seed import check_seed
from slosched.dispatch.replica import Replica


@dataclass(frozen=True)
class PowerOfTwo:
    """The one of two replicas that has fewer requests.

    Parameters
    ----------
    seed
        Of the draws.
    """

    kind: Literal["power_of_two"] = "power_of_two"
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @cached_property
    def _rng(self) -> Random:
        return Random(self.seed)  # noqa: S311 - no secret

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Draw two, and choose who has fewer."""
        del request
        two = self._rng.sample(replicas, min(2, len(replicas)))
        return min(two, key=lambda replica: replica.outstanding)
