"""Strict priorities, as a client states them."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Priority(Guarded):
    """Serve the highest `priority` first, ties by arrival; what vLLM's own priority policy does."""

    kind: Literal["priority"] = "priority"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, -snapshot.live["priority"])
