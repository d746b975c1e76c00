"""The part that users may replace: which replica gets a request as soon as it comes."""

from collections.abc import Sequence
from typing import Protocol

from slosched.core.request import Request
from slosched.dispatch.replica import Replica


class Assignment(Protocol):
    """Chooses a replica for each request on arrival; the order in there is the engine's own."""

    @property
    def kind(self) -> str:
        """What configuration calls it."""
        ...

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Choose one of some replicas, which are ready, and at least one."""
        ...
