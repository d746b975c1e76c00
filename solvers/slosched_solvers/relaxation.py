"""The engine as a resource-constrained schedule: what CP-SAT proves its bound on."""

from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np

from slosched.core.slo import TOLERANCE
from slosched.core.snapshot import Snapshot
from slosched.core.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

FOR_EVER = 1e6  # s; whoever can wait so long is taken to be on time, which keeps bounds valid
TICK = 1e-3  # s; durations are rounded down to ticks and deadlines up, so that bounds stay valid
WEIGHT_SCALE = 1000


class Values(Protocol):
    """Who knows the values of variables: a solver, or its callback."""

    def value(self, variable: "cp_model.IntVar") -> int:
        """Value of an integer variable."""
        ...

    def boolean_value(self, variable: "cp_model.IntVar") -> bool:
        """Value of a boolean variable."""
        ...


class Relaxation:
    """The relaxation: maximise the weight of the requests on time.

    Parameters
    ----------
    snapshot
        The requests and the engine.
    service
        Shape (n,): seconds that each request keeps its slot.
    latest
        Shape (n,): seconds from now by which it must have one to be on time; inf if it has for
        ever.
    weight
        Shape (n,): what each is worth.

    Attributes
    ----------
    rows
        For each request that may be on time: whether it is, and when it begins, in ticks.
    certain
        Weight of the requests without limits, or next to none, which any schedule attains.
    total
        Scaled weight of all in `rows`.
    """

    def __init__(
        self, snapshot: Snapshot, service: FloatArray, latest: FloatArray, weight: FloatArray
    ) -> None:
        from ortools.sat.python import cp_model

        self.model = model = cp_model.CpModel()
        self.rows: dict[int, tuple[cp_model.IntVar, cp_model.IntVar]] = {}
        self._snapshot = snapshot
        limits = snapshot.limits
        weights = {}
        intervals, tokens = [], []
        late = snapshot.first_token - snapshot.arrival > snapshot.ttft * (1 + TOLERANCE)
        possible = ~late & (latest >= -TICK)
        certain = possible & (latest > FOR_EVER)
        self.certain = float(weight[certain].sum())
        held = np.minimum(snapshot.context + snapshot.prefill, limits.kv_tokens)
        for row in np.flatnonzero(possible & ~certain):
            last = int(np.ceil(max(latest[row], 0.0) / TICK))
            on_time = model.new_bool_var(f"on_time_{row}")
            begin = model.new_int_var(0, last, f"begin_{row}")
            duration = int(service[row] / TICK)
            intervals.append(
                model.new_optional_fixed_size_interval_var(begin, duration, on_time, f"run_{row}")
            )
            tokens.append(int(held[row]))
            weights[int(row)] = ceil(float(weight[row]) * WEIGHT_SCALE)
            self.rows[int(row)] = (on_time, begin)
        self.total = float(sum(weights.values()))
        model.add_cumulative(intervals, [1] * len(intervals), limits.max_num_seqs)
        model.add_cumulative(intervals, tokens, limits.kv_tokens)
        self._add_prefill_capacity(snapshot)
        model.maximize(sum(weights[row] * on_time for row, (on_time, _) in self.rows.items()))

    def hint(self, met: BoolArray, begin: FloatArray) -> None:
        """Tell of a schedule to start from: who is on time, and when each begins, shape (n,)."""
        for row, (on_time, variable) in self.rows.items():
            self.model.add_hint(on_time, bool(met[row]))
            if met[row]:
                self.model.add_hint(variable, max(int(begin[row] / TICK), 0))

    def schedule(self, values: "Values") -> FloatArray:
        """Read a schedule off the variables: when each begins, s from now; inf if it is late."""
        start = np.full(len(self._snapshot), np.inf)
        for row, (on_time, begin) in self.rows.items():
            if values.boolean_value(on_time):
                start[row] = values.value(begin) * TICK
        return start

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
