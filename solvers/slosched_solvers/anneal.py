"""The annealer: the best start, improved until the budget ends."""

from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

import numpy as np

from slosched.core.objective import attained
from slosched.core.plan import marked
from slosched.core.protocols import Problem, Solution
from slosched.core.seed import check_seed
from slosched.core.types import BoolArray, IntArray
from slosched_solvers.anneal_kernel import Schedule, Search, anneal
from slosched_solvers.budget import check_budget
from slosched_solvers.checkpoints import checkpoints
from slosched_solvers.decisions import SEQUENCES, TOKENS, preempt, restrain
from slosched_solvers.discard import discard
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.focus import focus, widen
from slosched_solvers.instance import Instance, build, select
from slosched_solvers.moves import EXPECTED
from slosched_solvers.requests import LATEST
from slosched_solvers.starts import starts
from slosched_solvers.temperatures import check_temperatures

NO_LIMIT = np.iinfo(np.int64).max
DISCARD_SHARE = 0.5  # of the budget, at most, for the start that is made by rollouts
FIRST_SHARE = 0.7  # of the budget, before preemptions and limits are tried
DECIDED_SHARE = 0.8  # of the budget, when they have to be done; the rest repairs after them
PREEMPTIONS_TRIED = 64
MANY = 64  # to search over; fewer are searched through sooner, so that it pays to start over
SMALL = 16  # so many that wait are all worth searching over, for their latency too


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
        Times that the search starts over from the best order, sharing the budget; the fewer wait,
        the more often: 8 times as often for 8 as for 64 and more.
    horizon
        Waiting requests to search over: the first so many of the best start; the others follow
        in its order.
    max_preemptions
        Running requests that one plan may preempt at most.
    seed
        Of the random moves.
    """

    kind: Literal["anneal"] = "anneal"
    time_budget_ms: float | None = 10.0
    move_budget: int | None = None
    acceptance: float = 0.001
    cooling: float = 0.85
    restarts: int = 1
    horizon: int = 128
    max_preemptions: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_budget(self.time_budget_ms, self.move_budget)
        check_temperatures(self.acceptance, self.cooling)
        if self.restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {self.restarts}")
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if self.max_preemptions < 0:
            raise ValueError(f"max_preemptions must not be negative, got {self.max_preemptions}")
        check_seed(self.seed)

    def solve(self, problem: Problem) -> Solution:
        """Search for a good order; never worse than the best start."""
        began = monotonic()
        narrowed = focus(problem)
        if narrowed is None:
            return self._solve(problem, began)
        left, kept, others = narrowed
        return widen(self._solve(left, began), kept, others)

    def _solve(self, problem: Problem, began: float) -> Solution:
        full = build(problem.snapshot, robust=problem.robust)
        whole = Evaluator(full, problem.objective)
        start_cost, start = _best_start(problem, whole)
        searched = self._worth_searching(problem, whole, start)
        head, tail = start[searched], start[~searched]
        hunt = _Hunt(
            self, problem, select(full, head), marked(problem.promoted, len(start))[head], began
        )
        hunt.run()
        order = np.concatenate((head[hunt.search.best], tail))
        chosen, outcome = full, whole
        if hunt.preempted or (hunt.instance.limits != full.limits).any():
            chosen = _apply(full, head[hunt.preempted], hunt.instance)
            outcome = Evaluator(chosen, problem.objective)
        value = outcome(order)
        preempted = head[hunt.preempted]
        if value > start_cost:  # the horizon did not see what its order does to the tail
            order, value, preempted = start, start_cost, preempted[:0]
            chosen, outcome = full, whole
            whole(order)
        if problem.robust:
            outcome = Evaluator(_expected(chosen, problem), problem.objective)
            outcome(order)
        first, finish = outcome.first[0], outcome.finish[0]
        engine = problem.snapshot.limits
        sequences, tokens = (int(limit) for limit in chosen.limits[:2])
        return Solution(
            order,
            value,
            first,
            finish,
            int(attained(problem.snapshot, first, finish).sum()),
            hunt.moves,
            preempt=preempted,
            max_num_seqs=None if sequences == engine.max_num_seqs else sequences,
            max_num_batched_tokens=None if tokens == engine.max_num_batched_tokens else tokens,
        )

    def _worth_searching(self, problem: Problem, whole: Evaluator, start: IntArray) -> BoolArray:
        """Tell which places of a start to search over.

        Under `attainment`, whoever is late in any case has its place behind those who may not be,
        unless there are but a few.
        """
        waiting = ~problem.snapshot.running
        waiting[problem.promoted] = False
        fixed = ~waiting[start]
        movable = waiting
        if problem.objective.kind == "attainment" and waiting.sum() > SMALL:
            movable &= (whole.requests.times[:, :, LATEST] >= 0).any(axis=0)
        return fixed | (movable[start] & (np.cumsum(movable[start]) <= self.horizon))


def _best_start(problem: Problem, whole: Evaluator) -> tuple[float, IntArray]:
    """Return the best start and its cost; many of them are the same."""
    unlike = {start.tobytes(): start for start in starts(problem)}
    return min(((whole(start), start) for start in unlike.values()), key=lambda pair: pair[0])


def _apply(full: Instance, preempted: IntArray, searched: Instance) -> Instance:
    """Carry the decisions of a search over some of the requests over to all of them."""
    changed = full._replace(
        running=full.running.copy(), prefill=full.prefill.copy(), context=full.context.copy(),
        limits=searched.limits,
    )  # fmt: skip
    changed.running[preempted] = False
    changed.prefill[preempted] += changed.context[preempted] + 1  # its newest token, too
    changed.context[preempted] = 0
    return changed


def _expected(instance: Instance, problem: Problem) -> Instance:
    """Keep the lengths that are expected, without the scenarios around them."""
    return instance._replace(remaining=problem.snapshot.remaining[None, :])


def search_from(evaluator: Evaluator, order: IntArray, promoted: int = 0) -> Search:
    """Begin a search at an order, whose first waiting requests are promoted and never move."""
    cost, n = evaluator(order), len(order)
    return Search(
        order=order.copy(),
        best=order.copy(),
        costs=np.full(2, cost),
        front=np.array([evaluator.settled, evaluator.settled + promoted]),
        position=np.argsort(order),
        before=np.empty(n, dtype=np.int64),
        begins=np.zeros(len(evaluator.first), dtype=np.int64),
        pays=EXPECTED.copy(),
        first=evaluator.first.copy(),
        finish=evaluator.finish.copy(),
        trial_first=evaluator.first.copy(),
        trial_finish=evaluator.finish.copy(),
    )


class _Hunt:
    """One search over one instance: moves, then decisions, then moves again.

    Attributes
    ----------
    preempted
        Rows of the instance that lost their slots.
    moves
        Orders tried.
    """

    def __init__(
        self,
        solver: Anneal,
        problem: Problem,
        instance: Instance,
        promoted: BoolArray,
        began: float,
    ) -> None:
        self._solver = solver
        self._problem = problem
        self._promoted = promoted
        self._began = began
        self._rng = np.random.default_rng(solver.seed)
        self._evaluator = evaluator = Evaluator(instance, problem.objective)
        self.instance = instance
        self.preempted: list[int] = []
        self.moves = 0
        scenarios, n = instance.remaining.shape
        waits_promoted = int((promoted & ~instance.running).sum())
        self.search = search_from(evaluator, np.arange(n), waits_promoted)
        self._saved = checkpoints(
            scenarios,
            n - evaluator.settled + solver.max_preemptions,
            len(evaluator.slots.row),
        )

    def run(self) -> None:
        """Use up the solver's budget."""
        problem = self._problem
        decides = problem.preemption or problem.admission_gate or problem.prefill_budget
        waiting = len(self.instance.running) - int(self.instance.running.sum())
        if not waiting:
            return
        self._discard()
        if decides:
            self._anneal(FIRST_SHARE)
            self._decide()
        self._anneal(1.0)

    def _until(self, share: float) -> float:
        budget = self._solver.time_budget_ms
        return inf if budget is None else self._began + share * budget / 1e3

    def _anneal(self, share: float) -> None:
        solver = self._solver
        moves = NO_LIMIT
        if solver.move_budget is not None:
            moves = round(share * solver.move_budget) - self.moves
        movable = max(len(self.search.order) - int(self.search.front[1]), 1)
        schedule = Schedule(
            self._until(share),
            moves,
            solver.acceptance,
            solver.cooling,
            solver.restarts * max(MANY // movable, 1),
        )
        self.moves += anneal(
            self._evaluator.requests, self.search, schedule, self._rng,
            self._evaluator.price, self._evaluator.slots, self._saved,
        )  # fmt: skip

    def _discard(self) -> None:
        evaluator = self._evaluator
        discard(
            evaluator.requests, self.search, evaluator.price, evaluator.slots, self._saved,
            self._until(DISCARD_SHARE),
        )  # fmt: skip

    def _decide(self) -> None:
        problem, evaluator, until = self._problem, self._evaluator, self._until(DECIDED_SHARE)
        parts = (evaluator.requests, self.search, evaluator.price, evaluator.slots)
        if problem.preemption:
            for _ in range(self._solver.max_preemptions):
                row = preempt(*parts, self._saved, self._promoted, until, PREEMPTIONS_TRIED)
                if row < 0:
                    break
                self.preempted.append(row)
        sequences, tokens = (int(limit) for limit in self.instance.limits[:2])
        if problem.admission_gate:
            restrain(*parts, self._saved, SEQUENCES, _fractions(sequences, 1))
        if problem.prefill_budget:
            restrain(*parts, self._saved, TOKENS, _fractions(tokens, 2 * sequences))


def _fractions(most: int, least: int) -> IntArray:
    """Half of a limit, a quarter and so on, down to a least value."""
    halves = [most * 3 // 4, most // 2, most * 3 // 8, most // 4, most // 8]
    return np.array([value for value in halves if value >= least], dtype=np.int64)
