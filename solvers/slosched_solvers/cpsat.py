"""OR-Tools CP-SAT on a relaxed model: a proven bound on attainment, and the best order by it."""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np

from slosched.core.objective import attained
from slosched.core.protocols import Problem, Solution
from slosched.core.seed import check_seed
from slosched.core.snapshot import Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.evaluate import solution
from slosched_solvers.promoted import promoted_first
from slosched_solvers.relaxation import FOR_EVER, WEIGHT_SCALE, Relaxation
from slosched_solvers.starts import starts

REPAIRS = 3  # times that an order is mended by sending to the end who is late in it
ROUND_S = 1.0  # of a search for better orders, s


@dataclass(frozen=True, slots=True)
class CpSat:
    """Choose who is on time with optional intervals on B slots, KV and prefill as resources.

    Every duration is the shortest that any batch allows (`Snapshot.service`) and running requests
    may give up their slots at no cost, so whatever the engine can do without preempting whom it
    admits, the model can do too: the bound holds for every such schedule.

    The search starts from the best constructive order. Each schedule that it finds on its way is
    rolled out for its true cost, and the best order of all is the answer.

    Parameters
    ----------
    time_limit_s
        Wall-clock time; the bound is valid whenever the proof stops.
    refine
        Whether to spend what the proof leaves of the time on better orders: solve again with
        durations as they are in the best order so far, varied once that helps no more.
    workers
        Threads.
    seed
        Of the search; with more than one worker, runs may still differ.
    """

    kind: Literal["cpsat"] = "cpsat"
    time_limit_s: float = 5.0
    refine: bool = False
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.time_limit_s > 0:
            raise ValueError(f"time_limit_s must be greater than 0, got {self.time_limit_s}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        check_seed(self.seed, most=2**31 - 1)

    def solve(self, problem: Problem) -> Solution:
        """Search for the best order, and prove how much any could attain."""
        shortlist = Shortlist(problem)
        for start in starts(problem):
            shortlist.offer(start)
        ends = perf_counter() + self.time_limit_s
        snapshot = problem.snapshot
        model = Relaxation(snapshot, snapshot.service, snapshot.slack, snapshot.weight)
        proven = model.certain + self.search(model, shortlist, self.time_limit_s)
        if self.refine:
            self.refined(shortlist, ends)
        return replace(shortlist.best, moves=shortlist.priced, attained_bound=proven)

    def refined(self, shortlist: "Shortlist", ends: float) -> None:
        """Solve with durations as they come about in the best order, again and again."""
        rng = np.random.default_rng(self.seed)
        n, helped = len(shortlist.snapshot), True
        while (left := ends - perf_counter()) > 0:
            best = shortlist.best
            scale, emphasis = (1.0, np.ones(n)) if helped else _varied(rng, n)
            model = _as_it_came(shortlist.snapshot, best, scale, emphasis)
            if not model.rows:
                return
            self.search(model, shortlist, min(left, ROUND_S))
            helped = shortlist.best.cost < best.cost

    def search(self, model: Relaxation, shortlist: "Shortlist", seconds: float) -> float:
        """Offer each schedule that is found to the shortlist; return the bound on its weight."""
        if not model.rows:
            return 0.0
        from ortools.sat.python import cp_model

        class Incumbents(cp_model.CpSolverSolutionCallback):
            def on_solution_callback(self) -> None:
                shortlist.offer_schedule(model.schedule(self))

        best = shortlist.best
        model.hint(shortlist.met(best), begins(shortlist.snapshot, best))
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = self.workers
        solver.parameters.random_seed = self.seed
        status = solver.solve(model.model, Incumbents())
        if status == cp_model.UNKNOWN:  # it had no time for a bound, and calls that 0
            return model.total / WEIGHT_SCALE
        return min(solver.best_objective_bound, model.total) / WEIGHT_SCALE


def begins(snapshot: Snapshot, rolled_out: Solution) -> FloatArray:
    """When each request can have begun at the latest, to come about as it did; shape (n,), s."""
    to_come = np.isnan(snapshot.first_token)
    first, finish = _finite(rolled_out.first), _finite(rolled_out.finish)
    return np.where(to_come, first - snapshot.first_service, finish - snapshot.service)


def _finite(times: FloatArray) -> FloatArray:
    return np.minimum(times, FOR_EVER)


def _as_it_came(
    snapshot: Snapshot, rolled_out: Solution, scale: float, emphasis: FloatArray
) -> Relaxation:
    """Model the engine with the durations of a rollout, times some factor; no relaxation at all."""
    never = np.isinf(rolled_out.finish)
    service = scale * (_finite(rolled_out.finish) - begins(snapshot, rolled_out))
    to_finish = snapshot.arrival + snapshot.e2e - snapshot.now - service
    latest = np.where(never, -np.inf, np.minimum(snapshot.slack, to_finish))
    return Relaxation(snapshot, service, latest, snapshot.weight * emphasis)


def _varied(rng: np.random.Generator, n: int) -> tuple[float, FloatArray]:
    return rng.uniform(0.75, 1.15), rng.uniform(0.8, 1.2, n)


class Shortlist:
    """The best order of those offered, by true cost.

    Attributes
    ----------
    best
        What the rollout says of it.
    priced
        Orders rolled out.
    snapshot
        Of the problem.
    """

    best: Solution

    def __init__(self, problem: Problem) -> None:
        self.priced = 0
        self.snapshot = problem.snapshot
        self._problem = problem
        self._seen: set[bytes] = set()

    def offer_schedule(self, start: FloatArray) -> None:
        """Price the orders that a schedule suggests.

        Parameters
        ----------
        start
            Shape (n,): when each request begins, s from now; inf if it is not on time anyway.
        """
        late = np.isinf(start)
        for keys in (start, self.snapshot.slack):
            order = _order(self.snapshot, late, keys)
            for _ in range(REPAIRS):
                found = self.offer(order)
                if found is None:
                    break
                order = self._mended(found)

    def offer(self, order: IntArray) -> Solution | None:
        """Price an order; None if it was before."""
        order = promoted_first(self._problem, order)
        if order.tobytes() in self._seen:
            return None
        self._seen.add(order.tobytes())
        found = solution(self._problem, order, moves=0)
        self.priced += 1
        if self.priced == 1 or found.cost < self.best.cost:
            self.best = found
        return found

    def met(self, found: Solution) -> BoolArray:
        """Who keeps all its limits, shape (n,)."""
        return attained(self.snapshot, found.first, found.finish)

    def _mended(self, found: Solution) -> IntArray:
        """Send to the end who is late after all: it is in the way of others."""
        late = ~self.met(found)
        return np.concatenate((found.order[~late[found.order]], found.order[late[found.order]]))


def _order(snapshot: Snapshot, late: BoolArray, start: FloatArray) -> IntArray:
    service = snapshot.service
    keys = (snapshot.live["serial"], service, np.where(late, np.inf, start), late)
    return np.lexsort(keys).astype(np.int64)
