"""First come, first served: what vLLM does by default."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.core.types import LiveRow
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class Fcfs(Guarded):
    """Serve requests in order of arrival."""

    kind: Literal["fcfs"] = "fcfs"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot)

    def rank(self, newcomer: LiveRow) -> int:
        """Rank a request behind all who came before it."""
        return int(newcomer["serial"])
