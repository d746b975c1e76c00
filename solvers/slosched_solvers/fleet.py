"""The fleet's annealer: which engine serves whom, and in which order, searched together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from time import monotonic
from typing import Literal

import numpy as np

from slosched.core.fleet import FleetProblem, FleetSolution
from slosched.core.protocols import Problem
from slosched.core.seed import check_seed
from slosched.core.types import IntArray
from slosched_solvers.anneal import NO_LIMIT, Anneal
from slosched_solvers.anneal_kernel import Schedule
from slosched_solvers.budget import check_budget
from slosched_solvers.fleet_kernel import anneal_fleet
from slosched_solvers.fleet_queues import Queues, copied
from slosched_solvers.fleet_rollouts import FleetRollouts
from slosched_solvers.fleet_starts import Sequences, deal
from slosched_solvers.fleet_tidy import tidy
from slosched_solvers.temperatures import check_temperatures

_PLACES = 8  # in a queue that are tried for who comes
_TRIED = 8  # engines that are: those that would be done first
_EACH = 16  # requests that are searched over for each engine at least, whatever the horizon
_FEW = 8  # engines, for which requests are dealt out anew with each plan
_POLISHED = 8  # queues at most that are searched by themselves
_START_SHARE = 0.7  # of the budget, by when the search over all queues begins at the latest
_JOINT_SHARE = 0.6  # of what is left then, for all together; the rest is for each by itself
_BLINK_MS = 1e-3


@dataclass(frozen=True, slots=True)
class FleetAnneal:
    """Simulated annealing over the queues of several engines, then over each queue by itself.

    Parameters
    ----------
    time_budget_ms
        Wall-clock time for a plan, of one core; None if only moves count.
    per_engine_ms
        The same for each engine, where that comes to more: before many, all queues are to be put
        in order within one plan.
    move_budget
        Queues and orders to try; None if only time counts. With moves alone a result depends on
        the seed and nothing else.
    acceptance, cooling
        As of `Anneal`.
    horizon
        Waiting requests to search over, the most urgent, but at least 16 for each engine; the
        others follow by arrival.
    seed
        Of the random moves.
    """

    kind: Literal["fleet_anneal"] = "fleet_anneal"
    time_budget_ms: float | None = 20.0
    per_engine_ms: float = 0.3
    move_budget: int | None = None
    acceptance: float = 0.001
    cooling: float = 0.85
    horizon: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_budget(self.time_budget_ms, self.move_budget)
        if not 0 <= self.per_engine_ms < inf:
            raise ValueError(f"per_engine_ms must not be negative, got {self.per_engine_ms}")
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
        hunt = self._begun(problem, began)
        engines = len(problem.snapshot.engines)
        ends = self._until(began, engines)
        moves = hunt.search(self._schedule(ends), self.seed)
        alone = min(engines, _POLISHED)
        hunt.polish(self._alone(alone, ends), alone, ends)
        return hunt.solution(moves)

    def start(self, problem: FleetProblem) -> FleetSolution:
        """Return the best start; see `solve` for errors."""
        return self._begun(problem, monotonic()).solution(0)

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
        entered, added = rollouts.queues(queues), 0.0
        entered.costs[:] = nan
        for row in newcomers.tolist():
            engines = np.argsort(rollouts.done(row, entered), kind="stable")[:_TRIED]
            added = rollouts.enter(entered, row, engines, _PLACES)
        return added

    def _begun(self, problem: FleetProblem, began: float) -> "_Hunt":
        """Deal requests out, and bring each queue into the best order that takes no search."""
        _check(problem)
        engines = len(problem.snapshot.engines)
        hunt = _Hunt(problem, max(self.horizon, _EACH * engines))
        hunt.tidy(self._until(began, engines, _START_SHARE))
        return hunt

    def _until(self, began: float, engines: int, share: float = 1.0) -> float:
        """Return when a share of the budget is used up, on the monotonic clock."""
        if self.time_budget_ms is None:
            return inf
        return began + share * max(self.time_budget_ms, self.per_engine_ms * engines) / 1e3

    def _schedule(self, ends: float) -> Schedule:
        """Return how long, and how boldly, all queues are searched together."""
        moves, now = self.move_budget, monotonic()
        made = NO_LIMIT if moves is None else round(_JOINT_SHARE * moves)
        until = now + _JOINT_SHARE * (ends - now)
        return Schedule(until, made, self.acceptance, self.cooling, restarts=1)

    def _alone(self, engines: int, ends: float) -> Anneal:
        """Return what searches one queue by itself."""
        moves, left_ms = self.move_budget, 1e3 * (ends - monotonic())
        return Anneal(
            time_budget_ms=None if ends == inf else max(left_ms / engines, _BLINK_MS),
            move_budget=None if moves is None else round((1.0 - _JOINT_SHARE) / engines * moves),
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
        self._sequences = Sequences(problem.snapshot, self._rollouts.fleet.kind, horizon)
        self._orders = list(self._sequences)
        self._best = self._best_start()

    def search(self, schedule: Schedule, seed: int) -> int:
        """Anneal all queues together; return the moves made."""
        if not len(self._sequences.searched):
            return 0
        queues = copied(self._best)
        rng, of = np.random.default_rng(seed), self._rollouts
        return int(anneal_fleet(of.fleet, queues, self._best, schedule, rng, of.price, of.scratch))

    def tidy(self, until: float) -> None:
        """Bring queues into better orders without moves: each in turn, as far as time permits.

        Under the clock they take turns from plan to plan: what is kept of the plan before is what
        was found for the others then.
        """
        of, best, sequences = self._rollouts, self._best, self._orders
        places = np.empty((len(sequences), len(self._snapshot)), dtype=np.int64)
        for place, sequence in zip(places, sequences, strict=True):
            place[sequence] = np.arange(len(sequence))
        engines = len(self._bound)
        newest = int(self._snapshot.live["serial"].max(initial=0))
        turn = (np.arange(engines) + newest) % engines
        tidy(of.fleet, best, places, turn, of.price, of.scratch, of.workbench(best), until)

    def polish(self, alone: Anneal, most: int, until: float) -> None:
        """Search the costliest queues by themselves; keep what is found where it costs no more.

        Parameters
        ----------
        most
            Queues.
        until
            On the monotonic clock: from then on no other is begun.
        """
        best = self._best
        costly = np.argsort(-best.costs, kind="stable")[:most]
        for r in costly.tolist():
            bound = self._bound[r]
            rows = best.orders[r, : best.sizes[r]].copy()
            if len(rows) - len(bound) < 2:
                continue
            if monotonic() >= until:
                return
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
        self._append(self._sequences.others)
        return self._rollouts.solution(self._best, moves)

    def _best_start(self) -> Queues:
        """Deal requests out in the sequence that costs least, or as they were before."""
        kept = self._sequences.kept()
        made = []
        if kept is not None:
            made.append(self._dealt(kept[1], kept[0]))
        if kept is None or len(self._bound) <= _FEW:
            made += [self._dealt(sequence) for sequence in self._orders]
        return min(made, key=lambda queues: float(queues.costs.sum()))

    def _dealt(self, sequence: IntArray, kept: Sequence[IntArray] = ()) -> Queues:
        """Deal requests out in a sequence, each to where the least work is left.

        Parameters
        ----------
        kept
            Who is in which queue already.
        """
        of = self._rollouts
        queues = of.queues(kept)
        deal(of.fleet, queues, sequence, of.work, of.loads(queues))
        of.priced(queues)
        return queues

    def _append(self, rows: IntArray) -> None:
        """Deal others out, behind those who are there."""
        if not len(rows):
            return
        of, best = self._rollouts, self._best
        deal(of.fleet, best, rows, of.work, of.loads(best))
