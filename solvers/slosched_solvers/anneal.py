"""The annealer: the best start, improved until the budget ends."""

from dataclasses import dataclass
from math import inf, log
from operator import itemgetter
from time import perf_counter
from typing import Literal

import numpy as np

from slosched.core.objective import attained
from slosched.core.protocols import Problem, Solution
from slosched.core.types import IntArray
from slosched_solvers.anneal_kernel import anneal_moves
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.instance import Instance, build, give_up_slot, select
from slosched_solvers.starts import starts

SAMPLED_MOVES = 32  # to find the first temperature
CHUNK = 32  # moves between two looks at the clock
FIRST_SHARE = 0.75  # of the budget, before preemptions are tried; the rest repairs after them
LEVELS = 100  # temperatures, each `cooling` times the one before


@dataclass(frozen=True, slots=True)
class Anneal:
    """Simulated annealing over the order of the waiting requests.

    Parameters
    ----------
    time_budget_ms
        Wall-clock time for a plan; None if only moves count. The starts are made in any case.
    move_budget
        Orders to try; None if only time counts. With moves alone a result depends on the seed
        and nothing else.
    acceptance
        Probability with which the first temperature accepts an average worsening move.
    cooling
        Factor between two of the 100 temperatures.
    restarts
        Times that the search starts over from the best order, sharing the budget.
    horizon
        Waiting requests to search over: the first so many of the best start; the others follow
        in its order.
    max_preemptions
        Running requests that one plan may preempt at most.
    seed
        Of the random moves.
    """

    kind: Literal["anneal"] = "anneal"
    time_budget_ms: float | None = 5.0
    move_budget: int | None = None
    acceptance: float = 0.5
    cooling: float = 0.95
    restarts: int = 1
    horizon: int = 128
    max_preemptions: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.time_budget_ms is None and self.move_budget is None:
            raise ValueError("one of time_budget_ms and move_budget must be given")
        if self.time_budget_ms is not None and not self.time_budget_ms > 0:
            raise ValueError(f"time_budget_ms must be greater than 0, got {self.time_budget_ms}")
        if self.move_budget is not None and self.move_budget < 0:
            raise ValueError(f"move_budget must not be negative, got {self.move_budget}")
        for name in ("acceptance", "cooling"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {self.restarts}")
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if self.max_preemptions < 0:
            raise ValueError(f"max_preemptions must not be negative, got {self.max_preemptions}")

    def solve(self, problem: Problem) -> Solution:
        """Search for a good order; never worse than the best start."""
        full = build(problem.snapshot)
        if self.time_budget_ms is not None:
            _compile(full, problem)  # the first time; it must not eat the budget
        budget = _Budget(self.time_budget_ms, self.move_budget)
        start, start_cost = self._best_start(problem, full)
        head = start[: int(full.running.sum()) + self.horizon]
        tail = start[len(head) :]
        instance = select(full, head)
        search = Evaluator(instance, problem.objective)
        order = np.arange(len(head))
        preempted: list[int] = []
        rng = np.random.default_rng(self.seed)
        running = instance.running
        may_preempt = problem.preemption and bool(running.any()) and not running.all()
        order = self._search(search, order, rng, budget, FIRST_SHARE if may_preempt else 1.0)
        if may_preempt:
            search, order, preempted = self._preempt(search, order, problem, budget)
            order = self._search(search, order, rng, budget, 1.0)
        whole = np.concatenate((head[order], tail))
        chosen = full
        for row in preempted:
            chosen = give_up_slot(chosen, int(head[row]))
        outcome = Evaluator(chosen, problem.objective)
        value = outcome(whole)
        if value > start_cost:  # the horizon did not see what its order does to the tail
            whole, preempted = start, []
            outcome = Evaluator(full, problem.objective)
            value = outcome(whole)
        met = attained(problem.snapshot, outcome.first, outcome.finish)
        return Solution(
            whole,
            value,
            outcome.first,
            outcome.finish,
            int(met.sum()),
            budget.spent,
            preempt=head[np.array(preempted, dtype=np.int64)],
        )

    def _best_start(self, problem: Problem, instance: Instance) -> tuple[IntArray, float]:
        evaluate = Evaluator(instance, problem.objective)
        priced = [(evaluate(start), start) for start in starts(problem.snapshot)]
        cost, start = min(priced, key=itemgetter(0))
        return start, cost

    def _search(
        self,
        evaluate: Evaluator,
        start: IntArray,
        rng: np.random.Generator,
        budget: "_Budget",
        share: float,
    ) -> IntArray:
        """Anneal from a start until a share of the budget is spent; return the best order."""
        best = start.copy()
        if len(start) - int(evaluate.instance.running.sum()) < 2:
            return best
        saved, cost = evaluate.checkpoints(start)
        costs = np.full(2, cost)
        phase = budget.until(share)

        def run(order: IntArray, moves: int, temperature: float) -> float:
            budget.spent += moves
            return anneal_moves(
                evaluate.instance, order, best, costs, moves, temperature, rng, evaluate.kind,
                evaluate.weights, evaluate.first, evaluate.finish, evaluate.work, saved,
            )  # fmt: skip

        # Ben-Ameur (2004): start where an average worsening is accepted with this probability.
        worsening = run(start.copy(), phase.affordable(SAMPLED_MOVES), np.inf)
        first_temperature = max(worsening / -log(self.acceptance), 1e-12)
        for restart in range(self.restarts):
            order = best.copy()
            saved, costs[0] = evaluate.checkpoints(order)
            while True:
                progress = phase.progress() * self.restarts - restart
                moves = phase.affordable(CHUNK)
                if progress >= 1 or moves == 0:
                    break
                run(order, moves, first_temperature * self.cooling ** (LEVELS * progress))
        return best

    def _preempt(
        self, search: Evaluator, order: IntArray, problem: Problem, budget: "_Budget"
    ) -> tuple[Evaluator, IntArray, list[int]]:
        """Take slots from running requests, one by one, while the plan gets better by it.

        The rollout charges a preempted request its whole prefill again, so a plan that is still
        better has paid for its preemptions.
        """
        value = search(order)
        preempted: list[int] = []
        instance = search.instance
        while len(preempted) < self.max_preemptions:
            decoding = np.flatnonzero(instance.running & (instance.prefill == 0))
            longest_first = decoding[np.argsort(-instance.remaining[decoding], kind="stable")]
            for row in longest_first:
                if budget.until(1.0).progress() >= 1:
                    return search, order, preempted
                trial = Evaluator(give_up_slot(instance, int(row)), problem.objective)
                behind = np.append(order[order != row], row)
                trial_value = trial(behind)
                if trial_value < value:
                    preempted.append(int(row))
                    search, order, value, instance = trial, behind, trial_value, trial.instance
                    break
            else:
                break
        return search, order, preempted


def _compile(instance: Instance, problem: Problem) -> None:
    evaluate = Evaluator(instance, problem.objective)
    order = next(starts(problem.snapshot))
    saved, cost = evaluate.checkpoints(order)
    anneal_moves(
        instance, order, order.copy(), np.full(2, cost), 0, 1.0, np.random.default_rng(0),
        evaluate.kind, evaluate.weights, evaluate.first, evaluate.finish, evaluate.work, saved,
    )  # fmt: skip


class _Budget:
    """Time and moves that a plan may take, from now on.

    Attributes
    ----------
    spent
        Moves made.
    """

    def __init__(self, time_budget_ms: float | None, move_budget: int | None) -> None:
        self.spent = 0
        self.started = perf_counter()
        self.seconds = inf if time_budget_ms is None else time_budget_ms / 1e3
        self.moves = move_budget

    def until(self, share: float) -> "_Phase":
        """Return the part of the budget that is left until a share of the whole is spent."""
        return _Phase(self, share)


class _Phase:
    def __init__(self, budget: _Budget, share: float) -> None:
        self._budget = budget
        self._first_move = budget.spent
        self._begin = perf_counter()
        self._end = budget.started + share * budget.seconds
        self._last_move = None if budget.moves is None else round(share * budget.moves)

    def affordable(self, moves: int) -> int:
        if self._last_move is None:
            return moves
        return max(min(moves, self._last_move - self._budget.spent), 0)

    def progress(self) -> float:
        """Spent share of time or moves, whichever runs out first; 1 at the end."""
        by_moves = 0.0
        if self._last_move is not None:
            moves = self._last_move - self._first_move
            by_moves = (self._budget.spent - self._first_move) / moves if moves > 0 else 1.0
        if self._end == inf:
            return by_moves
        now = perf_counter()
        by_time = (now - self._begin) / (self._end - self._begin) if now < self._end else 1.0
        return max(by_moves, by_time)
