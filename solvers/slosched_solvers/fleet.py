"""The fleet's annealer: which engine serves whom, and in which order, searched together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

import numpy as np

from slosched.core.fleet import NOWHERE, FleetProblem, FleetSnapshot, FleetSolution
from slosched.core.protocols import Problem
from slosched.core.seed import check_seed
from slosched.core.snapshot import UNRANKED
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.anneal import NO_LIMIT, Anneal
from slosched_solvers.anneal_kernel import Schedule
from slosched_solvers.budget import check_budget
from slosched_solvers.fleet_kernel import Queues, anneal_fleet
from slosched_solvers.fleet_rollouts import FleetRollouts
from slosched_solvers.kernel import kernel
from slosched_solvers.temperatures import check_temperatures

_NO_SEARCH = Anneal(time_budget_ms=None, move_budget=0)
_PLACES = 8  # in a queue that are tried for who comes
_JOINT_SHARE = 0.6  # of the budget, for all queues together; the rest is for each by itself


@dataclass(frozen=True, slots=True)
class FleetAnneal:
    """Simulated annealing over the queues of several engines, then over each queue by itself.

    Parameters
    ----------
    time_budget_ms
        Wall-clock time for a plan, of one core; None if only moves count.
    move_budget
        Queues and orders to try; None if only time counts. With moves alone a result depends on
        the seed and nothing else.
    acceptance, cooling
        As of `Anneal`.
    horizon
        Waiting requests to search over, the most urgent; the others follow by arrival.
    seed
        Of the random moves.
    """

    kind: Literal["fleet_anneal"] = "fleet_anneal"
    time_budget_ms: float | None = 20.0
    move_budget: int | None = None
    acceptance: float = 0.001
    cooling: float = 0.85
    horizon: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_budget(self.time_budget_ms, self.move_budget)
        check_temperatures(self.acceptance, self.cooling)
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        check_seed(self.seed)

    def solve(self, problem: FleetProblem) -> FleetSolution:
        """Search for good queues; never worse than the best start.

        Raises
        ------
        ValueError
            If there is no engine, or the objective is `g`, which is no sum over engines.
        """
        began = monotonic()
        hunt = self._begun(problem)
        moves = hunt.search(self._schedule(began), self.seed)
        hunt.polish(self._alone(len(problem.snapshot.engines)))
        return hunt.solution(moves)

    def start(self, problem: FleetProblem) -> FleetSolution:
        """Return the best start; see `solve` for errors."""
        return self._begun(problem).solution(0)

    def price(self, problem: FleetProblem, queues: Sequence[IntArray]) -> FleetSolution:
        """Say what comes of some queues; see `solve` for errors."""
        _check(problem)
        rollouts = FleetRollouts(problem)
        return rollouts.solution(rollouts.queues(queues), 0)

    def added(
        self, problem: FleetProblem, queues: Sequence[IntArray], newcomers: IntArray
    ) -> float:
        """Put requests into queues where they cost least; see `solve` for errors."""
        _check(problem)
        rollouts = FleetRollouts(problem)
        entered, added = rollouts.priced(queues), 0.0
        for row in newcomers.tolist():
            added = rollouts.enter(entered, row, _PLACES)
        return added

    def _begun(self, problem: FleetProblem) -> "_Hunt":
        """Deal requests out, and bring each queue into the best order that takes no search."""
        _check(problem)
        hunt = _Hunt(problem, self.horizon)
        hunt.polish(_NO_SEARCH)
        return hunt

    def _schedule(self, began: float) -> Schedule:
        """Return how long, and how boldly, all queues are searched together."""
        budget, moves = self.time_budget_ms, self.move_budget
        until = inf if budget is None else began + _JOINT_SHARE * budget / 1e3
        made = NO_LIMIT if moves is None else round(_JOINT_SHARE * moves)
        return Schedule(until, made, self.acceptance, self.cooling, restarts=1)

    def _alone(self, engines: int) -> Anneal:
        """Return what searches one queue by itself."""
        share = (1.0 - _JOINT_SHARE) / engines
        budget, moves = self.time_budget_ms, self.move_budget
        return Anneal(
            time_budget_ms=None if budget is None else share * budget,
            move_budget=None if moves is None else round(share * moves),
            acceptance=self.acceptance,
            cooling=self.cooling,
            seed=self.seed,
        )


def _check(problem: FleetProblem) -> None:
    if not problem.snapshot.engines:
        raise ValueError("a fleet must have an engine at least")
    if problem.objective.kind == "g":
        raise ValueError("objective.kind must not be g: that is for one engine")


class _Hunt:
    """One search over one fleet."""

    def __init__(self, problem: FleetProblem, horizon: int) -> None:
        self._problem = problem
        self._snapshot = problem.snapshot
        self._rollouts = FleetRollouts(problem)
        self._bound = self._rollouts.bound
        self._starts = _Starts(problem.snapshot, horizon)
        self._best = self._best_start()

    def search(self, schedule: Schedule, seed: int) -> int:
        """Anneal all queues together; return the moves made."""
        if not len(self._starts.searched):
            return 0
        queues = self._best._replace(
            orders=self._best.orders.copy(), sizes=self._best.sizes.copy(),
            costs=self._best.costs.copy(), first=self._best.first.copy(),
            finish=self._best.finish.copy(),
        )  # fmt: skip
        rng, of = np.random.default_rng(seed), self._rollouts
        return int(anneal_fleet(of.fleet, queues, self._best, schedule, rng, of.price, of.scratch))

    def polish(self, alone: Anneal) -> None:
        """Search each queue by itself; keep what is found where it costs no more."""
        best = self._best
        for r, bound in enumerate(self._bound):
            rows = best.orders[r, : best.sizes[r]].copy()
            if len(rows) - len(bound) < 2:
                continue
            snapshot = self._snapshot.at(r, rows)
            snapshot.live["rank"] = np.arange(len(rows))  # a copy: one of the starts
            problem = Problem(snapshot, self._problem.objective, robust=self._problem.robust)
            found = rows[alone.solve(problem).order]
            best.orders[r, : len(rows)] = np.concatenate((bound, found[~np.isin(found, bound)]))
            cost = self._rollouts.cost(best, r)
            if cost <= best.costs[r]:
                best.costs[r] = cost
            else:
                best.orders[r, : len(rows)] = rows

    def solution(self, moves: int) -> FleetSolution:
        """Describe the best queues, with everybody who was not searched over behind them."""
        self._append(self._starts.others)
        return self._rollouts.solution(self._best, moves)

    def _best_start(self) -> Queues:
        made = [self._dealt(sequence) for sequence in self._starts]
        return min(made, key=lambda queues: float(queues.costs.sum()))

    def _dealt(self, sequence: IntArray) -> Queues:
        """Deal requests out in a sequence, each to where the least work is left."""
        queues = self._rollouts.queues()
        _deal(queues, sequence, self._rollouts.work(), self._loads())
        for r in range(len(self._bound)):
            queues.costs[r] = self._rollouts.cost(queues, r)
        return queues

    def _append(self, rows: IntArray) -> None:
        loads, work = self._loads(), self._rollouts.work()
        for r, bound in enumerate(self._bound):
            queue = self._best.orders[r, len(bound) : self._best.sizes[r]]
            loads[r] += work[r, queue].sum()
        _deal(self._best, rows, work, loads)

    def _loads(self) -> FloatArray:
        """Seconds of work that each engine has to do for those that are bound to it."""
        work = self._rollouts.work()
        return np.array([work[r, bound].sum() for r, bound in enumerate(self._bound)])


class _Starts:
    """Sequences to deal out in: see `starts.starts`.

    Attributes
    ----------
    searched
        Rows that wait and are to be searched over.
    others
        Those that wait beyond the horizon, in order of arrival.
    """

    def __init__(self, snapshot: FleetSnapshot, horizon: int) -> None:
        rows = np.arange(len(snapshot))
        outlooks = [snapshot.at(r, rows).outlook() for r in range(len(snapshot.engines))]
        # As the engine has it that suits each best.
        self._service: FloatArray = np.min([service for service, _, _ in outlooks], axis=0)
        self._slack: FloatArray = np.max([slack for _, slack, _ in outlooks], axis=0)
        self._hopeless = np.all([hopeless for _, _, hopeless in outlooks], axis=0)
        live = self._live = snapshot.live
        waiting = np.flatnonzero(snapshot.bound == NOWHERE)
        arrived = np.lexsort((live["serial"][waiting], live["arrival"][waiting]))
        waiting = waiting[arrived]
        urgent = np.lexsort((self._slack[waiting], self._hopeless[waiting]))[:horizon]
        kept = np.zeros(len(waiting), dtype=np.bool_)
        kept[urgent] = True
        self.searched, self.others = waiting[kept], waiting[~kept]

    def __iter__(self) -> Iterator[IntArray]:
        rank = self._live["rank"]
        before = np.where(rank == UNRANKED, np.iinfo(np.int64).min, rank)
        undecided = np.isfinite(self._slack) & ~self._hopeless
        density = self._live["weight"] / self._service
        for keys in (
            (),
            (self._hopeless, self._slack),
            (~undecided, self._service),
            (~undecided, -density),
            (before,),
        ):
            rows = self.searched
            yield rows[np.lexsort(tuple(key[rows] for key in reversed(keys)))] if keys else rows


@kernel
def _deal(queues: Queues, sequence: IntArray, work: FloatArray, loads: FloatArray) -> None:
    """Give each request to the engine that would be done with it first, at the end of its queue.

    Parameters
    ----------
    work
        Shape (r, n), s: what each request takes of each engine.
    loads
        Shape (r,), s: what each has to do already; added to.
    """
    for i in sequence:
        chosen = np.argmin(loads + work[:, i])
        loads[chosen] += work[chosen, i]
        queues.orders[chosen, queues.sizes[chosen]] = i
        queues.sizes[chosen] += 1
