"""One solve: a snapshot goes in; a plan that holds up, or why there is none, comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from slosched.core.plan import Plan, nobody
from slosched.core.protocols import Guard, Policy
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray
from slosched.planner.experience import Experience, Mishap


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
    experience
        Predicts lengths first, which it writes into the snapshot; None to take them as they are.
    due, requests
        Whose lengths are to be predicted: rows of the snapshot, and the requests in them.
    """

    snapshot: Snapshot
    rows: IntArray
    policy: Policy
    guard: Guard
    experience: Experience | None = None
    due: IntArray = field(default_factory=nobody)
    requests: Sequence[Request] = ()

    def solve(self) -> "Solved":
        """Predict, plan, and check the plan; whatever goes wrong is part of the answer (law 14)."""
        started = perf_counter()
        mishaps: list[Mishap] = []
        try:
            if self.experience is not None:
                mishaps += self.experience.learn(self.snapshot, self.rows)
                mishaps += self.experience.predict(self.snapshot, self.due, self.requests)
            promoted = self.guard.promoted(self.snapshot)
            plan = self.policy.plan(self.snapshot)
            plan.check(self.snapshot)
            plan = plan.promote(promoted)
            if self.experience is not None:
                self.experience.expect(self.snapshot, self.rows, plan)
        except (Exception, SystemExit) as error:
            mishaps.append(Mishap("plan_failed", self.policy, error))
            return Solved(self, None, seconds=perf_counter() - started, mishaps=mishaps)
        return Solved(self, plan, promoted, perf_counter() - started, mishaps)


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
    mishaps
        What went wrong; the last is why there is no plan, if there is none.
    """

    job: Job
    plan: Plan | None
    promoted: IntArray = field(default_factory=nobody)
    seconds: float = 0.0
    mishaps: Sequence[Mishap] = ()
