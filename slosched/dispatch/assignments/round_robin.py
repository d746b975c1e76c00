"""Round robin: everybody gets as many requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Literal

from slosched.core.request import Request
from slosched.dispatch.replica import Replica


@dataclass(frozen=True)
class RoundRobin:
    """The next replica in turn."""

    kind: Literal["round_robin"] = "round_robin"

    @cached_property
    def _turn(self) -> Iterator[int]:
        return count()

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Choose whose turn it is."""
        del request
        return replicas[next(self._turn) % len(replicas)]
