"""Earliest deadline first."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Edf(Guarded):
    """Serve the request whose next deadline (first token, then finish) comes first."""

    kind: Literal["edf"] = "edf"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, snapshot.deadline)
