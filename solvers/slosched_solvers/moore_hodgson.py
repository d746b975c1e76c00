"""A constructive start as a policy of its own: drop what makes the rest late."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched_solvers.starts import moore_hodgson


@dataclass(frozen=True)
class MooreHodgson:
    """Serve by deadline, but send to the end what is longest and makes the rest late.

    Moore (1968), "An n job, one machine sequencing algorithm for minimizing the number of late
    jobs": as many on time as can be with one slot and unit weights.
    """

    kind: Literal["moore_hodgson"] = "moore_hodgson"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        service = snapshot.service
        return Plan(moore_hodgson(snapshot, service, snapshot.slack + service))
