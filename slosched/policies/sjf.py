"""Shortest job first, by predicted length."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Sjf(Guarded):
    """Serve the request with the shortest predicted answer first, without preemption."""

    kind: Literal["sjf"] = "sjf"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, snapshot.expected)
