"""CP-SAT: its bound, its orders by true cost, and those that it must not touch."""

from math import inf
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, Objective, Plan, Problem, Slo, Snapshot
from slosched.core.objective import attained
from slosched.core.snapshot import LIVE
from slosched.core.types import IntArray
from slosched_solvers.cpsat import CpSat, Shortlist
from slosched_solvers.evaluate import solution
from slosched_solvers.exhaustive import Exhaustive
from slosched_solvers.relaxation import Relaxation
from slosched_solvers.starts import starts
from tests.strategies import LATENCY, snapshots

solvers = st.builds(CpSat, time_limit_s=st.just(0.1), refine=st.booleans(), workers=st.just(1))


def problems(max_size: int, max_running: int = 2) -> st.SearchStrategy[Problem]:
    def asked(snapshot: Snapshot, promoted: list[int]) -> Problem:
        rows = np.array([row for row in promoted if row < len(snapshot)], dtype=np.int64)
        return Problem(snapshot, Objective(), promoted=rows)

    promoted = st.lists(st.integers(0, max_size - 1), unique=True, max_size=3)
    return st.builds(asked, snapshots(max_size=max_size, max_running=max_running), promoted)


def starts_as_promoted(problem: Problem, order: IntArray) -> bool:
    """Whether those that run come first, and then the promoted that wait, in their order."""
    running = problem.snapshot.running
    waiting = [row for row in problem.promoted if not running[row]]
    settled = int(running.sum())
    front = list(order[settled : settled + len(waiting)])
    return bool(running[order[:settled]].all()) and front == waiting


@settings(max_examples=40)
@given(problems(max_size=15, max_running=6), solvers)
def test_the_answer_is_the_best_order_that_it_saw(problem: Problem, solver: CpSat) -> None:
    """Laws 6 and 8: a permutation, priced by the rollout, and no worse than any start."""
    found = solver.solve(problem)
    Plan(found.order).check(problem.snapshot)
    assert starts_as_promoted(problem, found.order)
    assert found.cost == solution(problem, found.order, 0).cost
    assert all(found.cost <= solution(problem, start, 0).cost for start in starts(problem))
    assert found.moves >= 1


@settings(max_examples=40)
@given(problems(max_size=6), solvers)
def test_no_order_is_better_than_the_best_nor_attains_more_than_the_bound(
    problem: Problem, solver: CpSat
) -> None:
    """Law 6, with hints and refinement, and whoever is promoted."""
    best, found = Exhaustive().solve(problem), solver.solve(problem)
    assert best.cost <= found.cost + 1e-9
    met = attained(problem.snapshot, best.first, best.finish)
    assert found.attained_bound is not None
    assert problem.snapshot.weight[met].sum() <= found.attained_bound + 1e-6


@settings(max_examples=40)
@given(problems(max_size=7))
def test_exhaustive_search_tries_the_orders_that_promotion_leaves(problem: Problem) -> None:
    """Law 8."""
    found = Exhaustive().solve(problem)
    assert starts_as_promoted(problem, found.order)
    assert all(found.cost <= solution(problem, start, 0).cost + 1e-9 for start in starts(problem))
    nobody = Problem(problem.snapshot, problem.objective)
    assert Exhaustive().solve(nobody).cost <= found.cost + 1e-9


@given(snapshots(slo=st.just(Slo()), max_size=6))
def test_without_limits_everybody_is_on_time(snapshot: Snapshot) -> None:
    found = CpSat().solve(Problem(snapshot, Objective()))
    assert found.attained_bound == pytest.approx(snapshot.weight.sum())


def crowded() -> Snapshot:
    """Thirty requests of which four slots cannot serve all in time."""
    rng, n = np.random.default_rng(3), 30
    live = np.zeros(n, dtype=LIVE)
    live["serial"], live["first_token"], live["weight"] = np.arange(n), np.nan, 1
    live["arrival"] = np.sort(-rng.uniform(0, 1, n))
    live["prefill"] = rng.integers(1, 900, n)
    live["length"] = rng.integers(1, 120, n)
    interactive = rng.random(n) < 0.5
    live["ttft"] = np.where(interactive, rng.uniform(0.1, 6, n), inf)
    live["e2e"] = np.where(interactive, inf, rng.uniform(0.5, 15, n))
    live["tpot"] = inf
    return Snapshot(0.0, live, EngineLimits(4, 2048, 16, 50_000), LATENCY)


def test_true_durations_find_what_the_cheapest_ones_hide() -> None:
    solver = CpSat(workers=1)
    shortlist = Shortlist(Problem(crowded(), Objective()))
    shortlist.offer(np.arange(30))
    snapshot = shortlist.snapshot
    model = Relaxation(snapshot, snapshot.service, snapshot.slack, snapshot.weight)
    solver.search(model, shortlist, seconds=2)
    plain = shortlist.best
    solver.refined(shortlist, ends=perf_counter() + 2)
    assert shortlist.best.attained > plain.attained


@given(problems(max_size=15))
@settings(max_examples=20)
def test_without_time_for_a_proof_the_bound_is_what_may_still_be(problem: Problem) -> None:
    """Law 6: a search that was stopped before it had a bound has proven nothing."""
    found = CpSat(time_limit_s=1e-6, workers=1).solve(problem)
    met = attained(problem.snapshot, found.first, found.finish)
    assert found.attained_bound is not None
    assert problem.snapshot.weight[met].sum() <= found.attained_bound + 1e-6


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"time_limit_s": 0.0}, "time_limit_s must be greater than 0, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_wrong_parameters_are_named(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CpSat(**options)  # type: ignore[arg-type]
