"""Why the plan begins as it does: what would become of all if the runner-up went first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slosched.core.fleet import FleetProblem, FleetSolution, FleetSolver
from slosched.core.objective import attained
from slosched.core.types import BoolArray, IntArray

_NAMED = 3  # of those who would be late


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is the next to go to a replica.

    Parameters
    ----------
    replica, request_id
        Who goes where.
    work
        Seconds that it would take of the replica if it had that to itself.
    slack
        Seconds between its limits and when they are expected to be kept; inf without a limit that
        is a moment.
    in_time
        Whether it is expected to keep all its limits.
    runner_up
        Who is behind it, "" if nobody is.
    late, late_ids
        How many would be late if these two changed places and are not now, and the first of them.
    saved
        How many would be in time then and are late now.
    delay
        Seconds by which the mean finish would be later then.
    """

    replica: str
    request_id: str
    work: float
    slack: float
    in_time: bool
    runner_up: str = ""
    late: int = 0
    late_ids: Sequence[str] = ()
    saved: int = 0
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class ReasonsJob:
    """A plan to be explained, in any thread.

    Parameters
    ----------
    problem
        The live requests and the engines as they are now.
    solver
        Who prices queues.
    ids
        Of the rows of the snapshot.
    replicas, queues
        Names, and who waits for each.
    """

    problem: FleetProblem
    solver: FleetSolver
    ids: Sequence[str]
    replicas: Sequence[str]
    queues: Sequence[IntArray]

    def explain(self) -> list[Reason]:
        """Return a reason for the head of each queue that is not empty."""
        if not any(map(len, self.queues)):
            return []
        here = self.solver.price(self.problem, self.queues)
        met = self._met(here)
        return [self._reason(r, here, met) for r, queue in enumerate(self.queues) if len(queue)]

    def _reason(self, r: int, here: FleetSolution, met: BoolArray) -> Reason:
        queue, of = self.queues[r], self.problem.snapshot
        head = int(queue[0])
        live = of.live[head]
        age = of.now - live["arrival"]
        slack = min(live["ttft"] - age - here.first[head], live["e2e"] - age - here.finish[head])
        work = float(of.at(r, queue[:1]).service[0])
        reason = Reason(self.replicas[r], self.ids[head], work, float(slack), bool(met[head]))
        if len(queue) == 1:
            return reason
        queues = list(self.queues)
        queues[r] = np.concatenate((queue[1::-1], queue[2:]))
        there = self.solver.price(self.problem, queues)
        other = self._met(there)
        late = np.flatnonzero(met & ~other)
        ends = np.isfinite(here.finish) & np.isfinite(there.finish)
        return Reason(
            reason.replica, reason.request_id, reason.work, reason.slack, reason.in_time,
            self.ids[int(queue[1])], len(late), [self.ids[k] for k in late[:_NAMED]],
            int((other & ~met).sum()), float((there.finish - here.finish)[ends].mean()),
        )  # fmt: skip

    def _met(self, of: FleetSolution) -> BoolArray:
        return attained(self.problem.snapshot.as_one(), of.first, of.finish)
