"""The starvation guard: nobody is passed for ever, under any policy (law 13)."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
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

    def apply(self, plan: Plan, snapshot: Snapshot) -> Plan:
        """Promote within a plan; the rest keeps its order. Promoted ones keep their slots."""
        starved = snapshot.live["passes"] >= self.passes
        if not starved.any():
            return plan
        held = plan.preempt[~starved[plan.preempt]]
        promoted = np.flatnonzero(starved)  # rows are in order of arrival
        return Plan(np.concatenate((promoted, plan.order[~starved[plan.order]])), held)


@dataclass(frozen=True, slots=True)
class NoGuard:
    """Let the policy starve whom it will."""

    kind: Literal["none"] = "none"

    def apply(self, plan: Plan, snapshot: Snapshot) -> Plan:  # noqa: ARG002 - a guard's signature
        """Leave the plan as it is."""
        return plan


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
