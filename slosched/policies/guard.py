"""The starvation guard: nobody is passed for ever, under any policy (law 13)."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from slosched.core.plan import nobody
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray, LiveArray
from slosched.policies.unions import by_kind


@dataclass(frozen=True, slots=True)
class BoundedPasses:
    """Send whoever was passed too often to the front, in order of arrival.

    A request is passed when one that came later gets a slot before it.

    Parameters
    ----------
    passes
        How often a waiting request may be passed. Small values protect the unlucky, large
        ones protect SLOs under overload, when somebody has to lose.
    """

    kind: Literal["bounded_passes"] = "bounded_passes"
    passes: int = 1000

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")

    def tick(self, live: LiveArray, rows: IntArray) -> bool:  # noqa: ARG002 - a guard's signature
        """Leave the counting to the table: admissions promote, and those are changes anyway."""
        return False

    def promoted(self, snapshot: Snapshot) -> IntArray:
        """Name whom too many have passed; rows are in order of arrival."""
        return np.flatnonzero(snapshot.live["passes"] >= self.passes).astype(np.int64)


@dataclass(frozen=True, slots=True)
class NoGuard:
    """Let the policy starve whom it will."""

    kind: Literal["none"] = "none"

    def tick(self, live: LiveArray, rows: IntArray) -> bool:  # noqa: ARG002 - a guard's signature
        """Count nothing."""
        return False

    def promoted(self, snapshot: Snapshot) -> IntArray:  # noqa: ARG002 - a guard's signature
        """Promote nobody."""
        return nobody()


Guard = Annotated[BoundedPasses | NoGuard, *by_kind("bounded_passes")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What every policy has: a guard, which the planner applies to its plans.

    Parameters
    ----------
    guard
        None by default, as the published policies have none.
    """

    guard: Guard = field(default_factory=NoGuard)
