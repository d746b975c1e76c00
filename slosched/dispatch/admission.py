"""Whether a request is let in: only if it is served in time, and nobody else is late for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slosched.core.types import IntArray
from slosched.dispatch.job import FleetJob

_OF_ITS_WEIGHT = 0.5  # that letting somebody in may cost; misses cost a whole weight


@dataclass(frozen=True, slots=True)
class AdmissionJob:
    """A request that waits, and all others; to be decided in the thread that plans.

    Parameters
    ----------
    job
        As a plan would be made for; nobody else writes to it.
    queues
        Of the plan in force: rows of the snapshot that wait for each replica.
    newcomers
        Rows that no plan knows yet; the last of them asks.
    caution
        How long answers are taken to be: 0 for as long as expected, 1 for as long as the longest
        third of what they may come to be, 2 for as much beyond that again.
    """

    job: FleetJob
    queues: Sequence[IntArray]
    newcomers: IntArray
    caution: float = 2.0

    def admits(self) -> bool:
        """Whether the request is to be let in.

        What it adds to the cost of the plan in force at its best place is less than half of its
        weight, with answers that are longer than expected. True if the objective is not
        attainment, or whatever goes wrong (law 14).
        """
        problem = self.job.problem
        if problem.objective.kind != "attainment":
            return True
        of = problem.snapshot
        if self.job.experience.predict(of.as_one(), self.job.due, self.job.requests):
            return True
        live = of.live
        live["length"] += self.caution * (live["long"] - live["length"])
        whole = replace(problem, robust=False)
        try:
            added = self.job.solver.added(whole, self.queues, self.newcomers)
        except (Exception, SystemExit):  # noqa: BLE001 - law 14
            return True
        return added < _OF_ITS_WEIGHT * float(live["weight"][self.newcomers[-1]])
