"""Largest remaining memory: how SLO-aware annealing shares requests out over instances.

arXiv 2504.14966, section 4.4: each request goes to the instance with the most memory left, whose
memory is then less by what the request will take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slosched.core.request import Request
from slosched.dispatch.replica import Replica


@dataclass(frozen=True)
class LargestMemory:
    """The replica with the most KV cache left, of several the first."""

    kind: Literal["largest_memory"] = "largest_memory"

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Choose who has the most left."""
        del request
        return max(replicas, key=lambda replica: replica.free_kv)
