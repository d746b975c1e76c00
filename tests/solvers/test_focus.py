"""Leaving out those who are late whatever is done: nobody else, and nobody is lost."""

import numpy as np
import pytest

from slosched import EngineLimits, Objective, Slo
from slosched.core.live import LiveTable
from slosched.core.protocols import Problem
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched_solvers.anneal import Anneal
from slosched_solvers.focus import KEPT, focus
from tests.strategies import LATENCY

SOLVER = Anneal(time_budget_ms=None, move_budget=50)


def backlog(late: int, in_time: int = 12, running: int = 3) -> Snapshot:
    """Requests at 100 s, most of which should have begun long ago."""
    rng = np.random.default_rng(late)
    table = LiveTable()
    for i in range(late + in_time):
        arrival = 0.0 if i < late else 99.9
        row = table.add(Request(f"r{i}", arrival, int(rng.integers(1, 900)), Slo(ttft=2.0)), 40.0)
        table.rows["length"][row] = rng.integers(1, 300)
        table.rows["running"][row] = i < running
    return table.snapshot(100.0, EngineLimits(4, 512, 16, 4000), LATENCY)[0]


def test_the_shortest_of_the_late_are_kept_and_all_others() -> None:
    snapshot = backlog(late=600)
    promoted = np.array([400, 20])
    narrowed = focus(Problem(snapshot, Objective(), promoted=promoted))
    assert narrowed is not None
    left, kept, others = narrowed
    assert sorted([*kept, *others]) == list(range(len(snapshot)))
    assert kept[left.promoted].tolist() == promoted.tolist()
    assert left.snapshot.live["serial"].tolist() == kept.tolist()
    assert snapshot.hopeless[others].all()
    assert not snapshot.running[others].any()
    assert len(kept) == 12 + 3 + 2 + KEPT
    service = snapshot.service
    assert (np.diff(others) > 0).all()
    late_and_kept = kept[snapshot.hopeless[kept] & ~snapshot.running[kept]]
    late_and_kept = late_and_kept[~np.isin(late_and_kept, promoted)]
    assert service[late_and_kept].max() <= service[others].min()


@pytest.mark.parametrize("late", [600, 2 * KEPT + 4])
def test_a_plan_is_of_everybody_and_attains_as_much(late: int) -> None:
    snapshot = backlog(late)
    narrow = SOLVER.solve(Problem(snapshot, Objective(), preemption=True))
    whole = SOLVER.solve(Problem(snapshot, Objective(), preemption=True, complete=True))
    for found in (narrow, whole):
        assert sorted(found.order) == list(range(len(snapshot)))
    assert narrow.attained == whole.attained > 0
    assert np.isinf(narrow.finish).sum() == late - 3 - KEPT
    assert np.isfinite(whole.finish).all()


@pytest.mark.parametrize(
    "problem",
    [
        Problem(backlog(late=2 * KEPT), Objective()),
        Problem(backlog(late=600), Objective("latency")),
        Problem(backlog(late=600), Objective(), complete=True),
    ],
)
def test_where_it_matters_nobody_is_left_out(problem: Problem) -> None:
    assert focus(problem) is None
