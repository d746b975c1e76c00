"""What comes of queues: each engine's is rolled out and priced by itself."""

from collections.abc import Sequence
from math import inf

import numpy as np

from slosched.core.fleet import FleetProblem, FleetSolution
from slosched.core.objective import attained
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import checkpoints
from slosched_solvers.cost import price
from slosched_solvers.fleet_kernel import Fleet, Queues, Scratch, run
from slosched_solvers.instance import build
from slosched_solvers.newcomer_kernel import enter
from slosched_solvers.requests import TOLL, WEIGHT, requests
from slosched_solvers.slots import make_slots


class FleetRollouts:
    """Rolls out queues of one fleet.

    Attributes
    ----------
    fleet, price, scratch
        As the kernels take them.
    bound
        Rows that are bound to each engine.
    """

    def __init__(self, problem: FleetProblem) -> None:
        self._snapshot = snapshot = problem.snapshot
        n, replicas = len(snapshot), range(len(snapshot.engines))
        instances = [build(snapshot.at(r, np.arange(n))) for r in replicas]
        seen = [requests(instance) for instance in instances]
        self.bound = [np.flatnonzero(snapshot.bound == r) for r in replicas]
        self.fleet = Fleet(
            np.stack([one.counts for one in seen]),
            np.stack([one.times for one in seen]),
            np.stack([one.by_latest for one in seen]),
            np.stack([one.limits for one in seen]),
            np.stack([one.latency for one in seen]),
            np.array([len(rows) for rows in self.bound], dtype=np.int64),
        )
        self.price = price(problem.objective, instances[0])
        most = max(*(min(int(one.limits[0]), n) for one in seen), *map(len, self.bound), 1)
        self.scratch = Scratch(
            np.empty(n, dtype=np.int64), make_slots(most, n), checkpoints(1, 0, most)
        )

    def cost(self, queues: Queues, r: int) -> float:
        """Roll one engine's queue out, whose times are written, and price it."""
        return float(run(self.fleet, queues, r, self.price, self.scratch))

    def work(self) -> FloatArray:
        """Seconds that each request takes of each engine whose slots are taken, shape (r, n)."""
        work: FloatArray = self.fleet.times[:, 0, :, TOLL] * self.fleet.times[:, 0, :, WEIGHT]
        return work

    def queues(self, waiting: Sequence[IntArray] = ()) -> Queues:
        """Return queues that are not rolled out: those that are bound, and then who waits."""
        replicas, n = len(self.bound), len(self._snapshot)
        queues = Queues(
            np.zeros((replicas, n), dtype=np.int64),
            self.fleet.settled.copy(),
            np.zeros(replicas),
            np.full((replicas, n), inf),
            np.full((replicas, n), inf),
        )
        for r, bound in enumerate(self.bound):
            rows = np.concatenate((bound, waiting[r])) if len(waiting) else bound
            queues.orders[r, : len(rows)] = rows
            queues.sizes[r] = len(rows)
        return queues

    def priced(self, waiting: Sequence[IntArray]) -> Queues:
        """Return queues that are rolled out."""
        queues = self.queues(waiting)
        for r in range(len(self.bound)):
            queues.costs[r] = self.cost(queues, r)
        return queues

    def enter(self, queues: Queues, row: int, places: int) -> float:
        """Put a request where it costs least; return what it adds."""
        return float(enter(self.fleet, queues, row, self.price, self.scratch, places))

    def solution(self, queues: Queues, moves: int) -> FleetSolution:
        """Roll queues out, and describe them."""
        snapshot = self._snapshot
        first, finish = np.full((2, len(snapshot)), inf)
        waiting, met, cost = [], 0, 0.0
        for r, bound in enumerate(self.bound):
            cost += self.cost(queues, r)
            rows = queues.orders[r, : queues.sizes[r]].copy()
            first[rows], finish[rows] = queues.first[r, rows], queues.finish[r, rows]
            met += int(attained(snapshot.at(r, rows), first[rows], finish[rows]).sum())
            waiting.append(rows[len(bound) :])
        return FleetSolution(waiting, cost, first, finish, met, moves)
