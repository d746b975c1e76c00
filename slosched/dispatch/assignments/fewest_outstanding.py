"""Fewest outstanding requests: what ELIS's front end does (arXiv 2505.09142, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slosched.core.request import Request
from slosched.dispatch.replica import Replica


@dataclass(frozen=True)
class FewestOutstanding:
    """The replica with the fewest requests, waiting or running; of several the first."""

    kind: Literal["fewest_outstanding"] = "fewest_outstanding"

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Choose who has the fewest."""
        del request
        return min(replicas, key=lambda replica: replica.outstanding)
