"""Speculative shortest job first (arXiv 2404.08509)."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Ssjf(Guarded):
    """Serve the shortest answer first as a proxy model guessed it at arrival; preempt nobody.

    One guess a request, section 3: what is predicted again later changes nothing.
    """

    kind: Literal["ssjf"] = "ssjf"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, snapshot.first_guess)
