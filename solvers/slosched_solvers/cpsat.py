"""OR-Tools CP-SAT on a relaxed model: an order, and a proven bound on attainment."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

import numpy as np

from slosched.core.protocols import Problem, Solution
from slosched.core.slo import TOLERANCE
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray
from slosched_solvers.evaluate import solution
from slosched_solvers.instance import build

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

FOR_EVER = 1e6  # s; whoever can wait so long is taken to be on time, which keeps bounds valid
TICK = 1e-3  # s; durations are rounded down to ticks and deadlines up, so that bounds stay valid
WEIGHT_SCALE = 1000


@dataclass(frozen=True, slots=True)
class CpSat:
    """Choose who is on time with optional intervals on B slots, KV and prefill as resources.

    Every duration is the shortest that any batch allows (`Snapshot.service`) and running requests
    may give up their slots at no cost, so whatever the engine can do without preempting whom it
    admits, the model can do too: the bound holds for every such schedule.

    Parameters
    ----------
    time_limit_s
        Wall-clock time for the proof; the bound is valid whenever it stops.
    workers
        Threads.
    seed
        Of the search; with more than one worker, runs may still differ.
    """

    kind: Literal["cpsat"] = "cpsat"
    time_limit_s: float = 5.0
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.time_limit_s > 0:
            raise ValueError(f"time_limit_s must be greater than 0, got {self.time_limit_s}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")

    def solve(self, problem: Problem) -> Solution:
        """Order by the model's start times, the late behind; with the bound that was proven."""
        from ortools.sat.python import cp_model

        snapshot = problem.snapshot
        model = _Model(snapshot, cp_model.CpModel())
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = self.time_limit_s
        solver.parameters.num_workers = self.workers
        solver.parameters.random_seed = self.seed
        status = solver.solve(model.model)
        found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        start = np.full(len(snapshot), np.inf)
        if found:
            for row, (on_time, begin) in model.rows.items():
                if solver.boolean_value(on_time):
                    start[row] = solver.value(begin) * TICK
        bound = min(solver.best_objective_bound, model.total) if model.rows else 0.0
        answer = solution(problem, self._order(snapshot, start), moves=1)
        return Solution(
            answer.order,
            answer.cost,
            answer.first,
            answer.finish,
            answer.attained,
            answer.moves,
            attained_bound=bound / WEIGHT_SCALE + model.certain,
        )

    @staticmethod
    def _order(snapshot: Snapshot, start: np.ndarray) -> IntArray:
        keys = (snapshot.live["serial"], snapshot.service, start, ~snapshot.running)
        return np.lexsort(keys).astype(np.int64)


class _Model:
    """The relaxation: maximise the weight of the requests on time.

    Attributes
    ----------
    rows
        For each request that may be on time: whether it is, and when it begins, in ticks.
    certain
        Weight of the requests without limits, or next to none, which any schedule attains.
    total
        Scaled weight of all in `rows`.
    """

    def __init__(self, snapshot: Snapshot, model: "cp_model.CpModel") -> None:
        self.model = model
        self.rows: dict[int, tuple[cp_model.IntVar, cp_model.IntVar]] = {}
        instance = build(snapshot)
        slack, service = snapshot.slack, snapshot.service
        limits = snapshot.limits
        weights = {}
        intervals, tokens = [], []
        late = snapshot.first_token - snapshot.arrival > snapshot.ttft * (1 + TOLERANCE)
        possible = ~late & (slack >= -TICK)
        certain = possible & (slack > FOR_EVER)
        self.certain = float(snapshot.weight[certain].sum())
        for row in np.flatnonzero(possible & ~certain):
            latest = int(np.ceil(max(slack[row], 0.0) / TICK))
            duration = int(service[row] / TICK)
            on_time = model.new_bool_var(f"on_time_{row}")
            begin = model.new_int_var(0, latest, f"begin_{row}")
            intervals.append(
                model.new_optional_fixed_size_interval_var(begin, duration, on_time, f"run_{row}")
            )
            held = int(instance.context[row] + instance.prefill[row])
            tokens.append(min(held, limits.kv_tokens))
            weights[int(row)] = ceil(float(snapshot.weight[row]) * WEIGHT_SCALE)
            self.rows[int(row)] = (on_time, begin)
        self.total = float(sum(weights.values()))
        model.add_cumulative(intervals, [1] * len(intervals), limits.max_num_seqs)
        model.add_cumulative(intervals, tokens, limits.kv_tokens)
        self._add_prefill_capacity(snapshot)
        model.maximize(sum(weights[row] * on_time for row, (on_time, _) in self.rows.items()))

    def _add_prefill_capacity(self, snapshot: Snapshot) -> None:
        """Bound the prefill that can be done by each deadline: the engine has one at a time.

        A token of prefill costs at least `per_prefill_token` and its share of a full step's base,
        in whichever step it is computed, so the prompts of all requests on time by D cost at
        most D.
        """
        latency = snapshot.latency
        per_token = latency.per_prefill_token
        per_token += latency.base / snapshot.limits.max_num_batched_tokens
        latest_prefilled = np.maximum(snapshot.slack, 0.0) + snapshot.prefill_service
        first_due = np.where(snapshot.prefill > 0, latest_prefilled, np.inf)
        by_deadline = sorted(self.rows, key=lambda row: float(first_due[row]))
        due_so_far: list[tuple[int, int]] = []
        for row in by_deadline:
            if not np.isfinite(first_due[row]):
                break
            # Microseconds: prompts are short against a tick. Work down, capacity up.
            due_so_far.append((row, int(snapshot.prefill[row] * per_token * 1e6)))
            capacity = int(np.ceil(first_due[row] * 1e6))
            self.model.add(
                sum(cost * self.rows[other][0] for other, cost in due_so_far) <= capacity
            )
