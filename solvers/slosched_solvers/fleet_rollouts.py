"""What comes of queues: each engine's is rolled out and priced by itself."""

from collections.abc import Sequence
from math import inf

import numpy as np

from slosched.core.fleet import NOWHERE, FleetProblem, FleetSolution
from slosched.core.objective import attained
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import checkpoints
from slosched_solvers.cost import price
from slosched_solvers.fleet_queues import Fleet, Queues, Scratch, begin, run, run_all, split
from slosched_solvers.fleet_tidy import Workbench
from slosched_solvers.instance import Instance, build, latency_of, limits_of, select
from slosched_solvers.newcomer_kernel import enter
from slosched_solvers.requests import COUNTS, TIMES, TOLL, WEIGHT, requests
from slosched_solvers.slots import make_slots

_ALIKE = 0.01  # in speed: engines whose bounds on times are worked out together
_KINDS = 16  # of engines at most, unless they hold unlike numbers of requests


class FleetRollouts:
    """Rolls out queues of one fleet.

    Attributes
    ----------
    fleet, price, scratch
        As the kernels take them.
    bound
        Rows that are bound to each engine.
    work
        Seconds that each request takes of each kind of engine whose slots are taken, shape (k, n).
    """

    def __init__(self, problem: FleetProblem) -> None:
        self._snapshot = snapshot = problem.snapshot
        n = len(snapshot)
        instance = build(snapshot.as_one())
        by_engine = np.argsort(snapshot.bound, kind="stable")
        self.bound = split(by_engine, snapshot.bound[by_engine], len(snapshot.engines))
        limits = np.array([limits_of(engine.limits) for engine in snapshot.engines])
        latency = np.array([latency_of(engine.latency) for engine in snapshot.engines])
        settled = np.array([len(rows) for rows in self.bound], dtype=np.int64)
        self.fleet = _fleet(instance, limits, latency, snapshot.bound, settled)
        self.work: FloatArray = self.fleet.times[:, :, TOLL] * self.fleet.times[:, :, WEIGHT]
        self.price = price(problem.objective, instance)
        slots = int(self.fleet.limits[:, 0].max())
        most = max(min(slots, n), int(self.fleet.settled.max()), 1)
        self.scratch = Scratch(
            np.empty((1, n, COUNTS), dtype=np.int64), np.empty((1, n, TIMES)),
            np.arange(n), np.empty(n, dtype=np.int64), np.empty(n), np.empty(n),
            make_slots(most, n), checkpoints(1, 0, most),
        )  # fmt: skip

    def cost(self, queues: Queues, r: int) -> float:
        """Roll one engine's queue out, whose times are written, and price it."""
        return float(run(self.fleet, queues, r, self.price, self.scratch))

    def loads(self, queues: Queues) -> FloatArray:
        """Seconds of work that each engine has to do."""
        at = np.full(len(self._snapshot), NOWHERE, dtype=np.int64)
        for r, size in enumerate(queues.sizes.tolist()):
            at[queues.orders[r, :size]] = r
        rows = np.flatnonzero(at != NOWHERE)
        engines = at[rows]
        work = self.work[self.fleet.kind[engines], rows] * self.fleet.pace[engines]
        return np.bincount(engines, weights=work, minlength=len(self.bound)).astype(np.float64)

    def done(self, row: int, queues: Queues) -> FloatArray:
        """Seconds after which each engine would be done with a request, behind all that it has."""
        return self.loads(queues) + self.work[self.fleet.kind, row] * self.fleet.pace

    def queues(self, waiting: Sequence[IntArray] = ()) -> Queues:
        """Return queues that are not rolled out: those that are bound, and then who waits."""
        replicas, n = len(self.bound), len(self._snapshot)
        settled = self.fleet.settled
        longest = n - int(settled.sum()) + int(settled.max())
        orders = np.zeros((replicas, longest), dtype=np.int64)
        begin(orders, self._snapshot.bound)
        queues = Queues(
            orders, settled.copy(), np.zeros(replicas), np.full(n, inf), np.full(n, inf)
        )
        for r, rows in enumerate(waiting):
            queues.orders[r, settled[r] : settled[r] + len(rows)] = rows
            queues.sizes[r] += len(rows)
        return queues

    def workbench(self, queues: Queues) -> Workbench:
        """Return memory for the search of one of some queues."""
        n = len(self._snapshot)
        longest = int((queues.sizes - self.fleet.settled).max())
        order, best, position, before = np.empty((4, n), dtype=np.int64)
        first, finish, trial_first, trial_finish = np.empty((4, 1, n))
        return Workbench(
            order, best, position, before, first, finish, trial_first, trial_finish,
            checkpoints(1, longest, len(self.scratch.slots.row)),
        )  # fmt: skip

    def priced(self, queues: Queues) -> float:
        """Roll queues out, note what each costs, and return the sum."""
        return float(run_all(self.fleet, queues, self.price, self.scratch))

    def enter(self, queues: Queues, row: int, engines: IntArray, places: int) -> float:
        """Put a request where it costs least of some engines; return what it adds."""
        return float(enter(self.fleet, queues, row, engines, self.price, self.scratch, places))

    def solution(self, queues: Queues, moves: int) -> FleetSolution:
        """Roll queues out, and describe them."""
        cost = self.priced(queues)
        settled = self.fleet.settled
        waiting = [
            queues.orders[r, settled[r] : queues.sizes[r]].copy() for r in range(len(self.bound))
        ]
        met = attained(self._snapshot.as_one(), queues.first, queues.finish)
        return FleetSolution(waiting, cost, queues.first, queues.finish, int(met.sum()), moves)


def _kinds(limits: IntArray, latency: FloatArray) -> IntArray:
    """Tell of which kind each engine is: those of a kind hold the same, and are about as fast."""
    alike, speeds = _ALIKE, np.log(np.maximum(latency, 1e-12))
    while True:
        keys = np.concatenate((limits, np.rint(speeds / alike).astype(np.int64)), axis=1)
        unlike, kind = np.unique(keys, axis=0, return_inverse=True)
        if len(unlike) <= _KINDS or alike > 1.0:
            return kind.reshape(-1)
        alike *= 2


def _fleet(
    instance: Instance, limits: IntArray, latency: FloatArray, bound: IntArray, settled: IntArray
) -> Fleet:
    """Work out what rollouts need of the requests, once for each kind of engine.

    That is how long a request takes at least, and by when it must begin. Of a kind the fastest
    engine counts, so that bounds hold for all; rollouts themselves go by each engine's own speed.
    """
    kind, n = _kinds(limits, latency), len(bound)
    kinds, pace = int(kind.max()) + 1, np.empty(len(kind))
    at = np.where(bound == NOWHERE, NOWHERE, kind[bound])
    counts = np.zeros((kinds, n, COUNTS), dtype=np.int64)
    times = np.zeros((kinds, n, TIMES))
    for k in range(kinds):
        members = np.flatnonzero(kind == k)
        fastest = latency[members].min(axis=0)
        pace[members] = latency[members, 0] / fastest[0]
        rows = np.flatnonzero((at == NOWHERE) | (at == k))
        engine = {"limits": limits[members[0]], "latency": fastest}
        one = requests(select(instance, rows)._replace(**engine))
        counts[k, rows], times[k, rows] = one.counts[0], one.times[0]
    return Fleet(counts, times, kind, pace, limits, latency, settled)
