"""One plan for a fleet: a snapshot goes in, queues come out, or why there are none."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from slosched.core.fleet import FleetProblem, FleetSolution, FleetSolver
from slosched.core.plan import Plan
from slosched.core.request import Request
from slosched.core.types import IntArray
from slosched.dispatch.replica import Replica
from slosched.planner.experience import Experience, Mishap


@dataclass(frozen=True, slots=True)
class FleetJob:
    """A problem to solve, in any thread.

    Parameters
    ----------
    problem
        The live requests and the engines; nobody else writes to it.
    solver
        Who solves it.
    rows
        Shape (n,): which row of the table each row of the snapshot was.
    replicas
        Whose engines these are.
    experience
        Predicts lengths first, which it writes into the snapshot.
    due, requests
        Whose lengths are to be predicted: rows of the snapshot, and the requests in them.
    """

    problem: FleetProblem
    solver: FleetSolver
    rows: IntArray
    replicas: Sequence[Replica]
    experience: Experience
    due: IntArray
    requests: Sequence[Request]

    def solve(self) -> "FleetSolved":
        """Predict and plan; whatever goes wrong is part of the answer (law 14)."""
        began = perf_counter()
        mishaps: list[Mishap] = []
        of = self.problem.snapshot
        try:
            one = of.as_one()
            mishaps += self.experience.learn(one, self.rows)
            mishaps += self.experience.predict(one, self.due, self.requests)
            found = self.solver.solve(self.problem)
            plan = Plan(np.arange(len(of)), first=found.first, finish=found.finish)
            self.experience.expect(one, self.rows, plan)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - law 14
            mishaps.append(Mishap("plan_failed", self.solver, error))
            return FleetSolved(self, None, perf_counter() - began, mishaps)
        return FleetSolved(self, found, perf_counter() - began, mishaps)


@dataclass(frozen=True, slots=True)
class FleetSolved:
    """What came of a job.

    Parameters
    ----------
    solution
        None if there is none.
    seconds
        How long it took, on a real clock.
    mishaps
        What went wrong; the last is why there is no solution, if there is none.
    """

    job: FleetJob
    solution: FleetSolution | None
    seconds: float
    mishaps: Sequence[Mishap]
