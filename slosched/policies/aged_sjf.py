"""Shortest job first, with a credit for waiting."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class AgedSjf(Guarded):
    """Serve the shortest predicted answer first, each second of waiting counting as tokens.

    Parameters
    ----------
    tokens_per_second
        Predicted tokens that one second in the system makes up for.
    """

    kind: Literal["aged_sjf"] = "aged_sjf"
    tokens_per_second: float = 10.0

    def __post_init__(self) -> None:
        if not self.tokens_per_second >= 0:
            raise ValueError(f"tokens_per_second must not be negative: {self.tokens_per_second}")

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        age = snapshot.now - snapshot.arrival
        return by(snapshot, snapshot.expected - self.tokens_per_second * age)
