"""One solve: a snapshot goes in; a plan that holds up, or why there is none, comes out."""

from dataclasses import dataclass, field
from time import perf_counter

from slosched.core.plan import Plan, nobody
from slosched.core.protocols import Guard, Policy
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot to plan for, and who plans.

    Parameters
    ----------
    snapshot
        The live requests; nobody else writes to it.
    rows
        Shape (n,): which row of the table each row of the snapshot was.
    policy, guard
        Order the requests; mend the order.
    """

    snapshot: Snapshot
    rows: IntArray
    policy: Policy
    guard: Guard

    def solve(self) -> "Solved":
        """Plan, and check the plan; whatever goes wrong is part of the answer (law 14)."""
        started = perf_counter()
        try:
            promoted = self.guard.promoted(self.snapshot)
            plan = self.policy.plan(self.snapshot).promote(promoted)
            plan.check(self.snapshot)
        except (Exception, SystemExit) as error:
            return Solved(self, None, seconds=perf_counter() - started, error=error)
        return Solved(self, plan, promoted, perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Solved:
    """What came of a job.

    Parameters
    ----------
    job
        The job.
    plan
        None if the policy failed.
    promoted
        Rows of the snapshot that the guard sent to the front, in this order.
    seconds
        How long it took, on a real clock.
    error
        Why there is no plan.
    """

    job: Job
    plan: Plan | None
    promoted: IntArray = field(default_factory=nobody)
    seconds: float = 0.0
    error: BaseException | None = None
