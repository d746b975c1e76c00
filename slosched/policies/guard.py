"""Starvation guards: nobody is passed for ever, under any policy (law 13)."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from slosched.core.plan import nobody
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray
from slosched.policies.bounded_passes import BoundedPasses
from slosched.policies.idle_steps import IdleSteps
from slosched.policies.unions import by_kind

__all__ = ["BoundedPasses", "Guard", "Guarded", "IdleSteps", "NoGuard"]


@dataclass(frozen=True, slots=True)
class NoGuard:
    """Let the policy starve whom it will."""

    kind: Literal["none"] = "none"

    def promoted(self, snapshot: Snapshot) -> IntArray:  # noqa: ARG002 - a guard's signature
        """Promote nobody."""
        return nobody()


Guard = Annotated[BoundedPasses | IdleSteps | NoGuard, *by_kind("bounded_passes")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What every policy has: a guard, which the planner applies to its plans.

    Parameters
    ----------
    guard
        None by default, as the published policies have none.
    """

    guard: Guard = field(default_factory=NoGuard)
