"""Planning a fixed set of requests once: everybody is there, nobody else comes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from time import perf_counter
from typing import Any

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.objective import Objective, attained
from slosched.core.protocols import Problem, Solution, Solver
from slosched.core.request import TracedRequest
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.core.types import BoolArray
from slosched.sim.summary import described


@dataclass(frozen=True, slots=True)
class OfflinePlan:
    """A solver's order of a set of requests, and what the rollout says of it.

    Parameters
    ----------
    trace, snapshot
        The requests, and the instant at which all of them wait.
    solution
        The order with its times.
    attained_bound
        Proven weight that no schedule without preemption exceeds, or None.
    solve_s
        Seconds that the solver took, without the proof.
    """

    trace: Sequence[TracedRequest]
    snapshot: Snapshot
    solution: Solution
    attained_bound: float | None
    solve_s: float

    @property
    def attained(self) -> BoolArray:
        """Which requests keep their SLO, in the trace's order."""
        return attained(self.snapshot, self.solution.first, self.solution.finish)

    def summary(self) -> dict[str, Any]:
        """Return the plan in numbers."""
        met = self.attained
        finish = self.solution.finish[np.isfinite(self.solution.finish)]
        weight = float(self.snapshot.weight[met].sum())
        bound = self.attained_bound
        # Weights that are whole numbers add up to whole numbers, whatever the solver proved.
        if bound is not None and not (self.snapshot.weight % 1).any():
            bound = floor(bound + 1e-6)
        return {
            "requests": len(self.trace),
            "attained": int(met.sum()),
            "slo_attainment": float(met.mean()),
            "attained_weight": weight,
            "attained_bound": bound,
            "gap": None if bound is None else round(bound - weight, 6),
            "mean_e2el_ms": float(finish.mean() * 1e3) if len(finish) else None,
            "failed": len(self.trace) - len(finish),
            "solve_s": self.solve_s,
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield a line per request, in the plan's order; None for times that never come.

        `start_ms` is the planned first token less the time that the prompt takes alone.
        """
        met, solution = self.attained, self.solution
        for order, row in enumerate(solution.order):
            never = not np.isfinite(solution.finish[row])
            start = solution.first[row] - self.snapshot.first_service[row]
            yield {
                "request_id": self.trace[row].request.request_id,
                "order": order,
                "slo_class": self.trace[row].request.slo_class,
                "start_ms": None if never else max(float(start), 0.0) * 1e3,
                "first_token_ms": None if never else float(solution.first[row] * 1e3),
                "finish_ms": None if never else float(solution.finish[row] * 1e3),
                "slo_met": bool(met[row]),
            }

    def arrays(self) -> dict[str, list[Any]]:
        """List what the plan means for each request, in its order, as a result's arrays do.

        `starts_ms` is what `lines` has under `start_ms`; everybody arrives at 0.
        """
        lines = list(self.lines())
        ordered = [self.trace[row] for row in self.solution.order]
        first = [line["first_token_ms"] for line in lines]
        finish = [line["finish_ms"] for line in lines]
        return {
            **described(ordered),
            "arrivals_ms": [0.0] * len(lines),
            "starts_ms": [line["start_ms"] for line in lines],
            "ttfts_ms": first,
            "tpots_ms": [
                None if end is None else (end - begin) / max(traced.output_tokens - 1, 1)
                for traced, begin, end in zip(ordered, first, finish, strict=True)
            ],
            "e2els_ms": finish,
            "slo_met": [line["slo_met"] for line in lines],
        }


def plan_offline(
    trace: Sequence[TracedRequest],
    limits: EngineLimits,
    latency: LinearLatency,
    objective: Objective,
    solver: Solver,
    bound: Solver | None = None,
) -> OfflinePlan:
    """Plan requests as if all of them arrived now, with their true lengths.

    Parameters
    ----------
    bound
        A solver that proves an `attained_bound`, if one is wanted.
    """
    table = LiveTable()
    for traced in trace:
        row = table.add(traced.request, traced.output_tokens)
        table.rows[row]["arrival"] = 0.0
    snapshot, _ = table.snapshot(0.0, limits, latency)
    problem = Problem(snapshot, objective, complete=True)
    started = perf_counter()
    solution = solver.solve(problem)
    solve_s = perf_counter() - started
    proven = solution.attained_bound
    if proven is None and bound is not None:
        proven = bound.solve(problem).attained_bound
    return OfflinePlan(trace, snapshot, solution, proven, solve_s)
