"""Most weight per second of service first."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Density(Guarded):
    """Serve first who is worth most for each second of the engine that it still needs.

    Smith's rule (1956), weighted shortest processing time: on one machine it minimises the
    weighted mean completion time.
    """

    kind: Literal["density"] = "density"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, -snapshot.weight / snapshot.service)
