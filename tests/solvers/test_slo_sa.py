"""The annealer of arXiv 2504.14966: its model, its search, and what it claims of them."""

from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, Objective, Plan, Problem, Slo, Snapshot
from slosched.core.objective import attained
from slosched.core.snapshot import LIVE
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.slo_sa import Batches, SloSa
from tests.strategies import LATENCY, snapshots


def twin(snapshot: Snapshot, batch: IntArray) -> tuple[FloatArray, FloatArray]:
    """Run fixed batches token by token; seconds to each first token and finish."""
    latency, limits = snapshot.latency, snapshot.limits
    first, finish = np.zeros(len(batch)), np.zeros(len(batch))
    now = 0.0
    for k in sorted(set(batch.tolist())):
        rows = np.flatnonzero(batch == k)
        for i in rows:
            prefill, context = int(snapshot.prefill[i]), int(snapshot.context[i])
            per_token = latency.per_prefill_token + latency.base / limits.max_num_batched_tokens
            at = now + latency.base + len(rows) * prefill * per_token
            first[i] = 0.0 if np.isfinite(snapshot.first_token[i]) else at
            for token in range(int(snapshot.remaining[i]) - 1):
                held = context + prefill + token
                at += latency.base + len(rows) * latency.per_sequence
                at += len(rows) * held * latency.per_context_token
            finish[i] = at
        now = finish[rows].max()
    return first, finish


@settings(max_examples=150)
@given(snapshots(max_size=8, max_running=0), st.data())
def test_the_model_is_that_of_batches_one_after_the_other(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    """Law 7, for the published model: G from its kernel, and from its plain-Python twin."""
    rows = np.arange(len(snapshot))
    batches = Batches(snapshot, rows)
    batches.best = np.array([data.draw(st.integers(0, len(rows) - 1)) for _ in rows])
    first, finish = twin(snapshot, batches.best)
    met = attained(snapshot, first, finish)
    latencies = (snapshot.now - snapshot.arrival + finish).sum()
    assert batches.gain() == pytest.approx(met.sum() / latencies)
    assert batches.all_met() == met.all()


@settings(max_examples=150)
@given(snapshots(max_size=20, max_running=0, kv_blocks=(20, 400)), st.integers(0, 2**31))
def test_annealing_never_loses_gain_and_keeps_to_the_batches_limits(
    snapshot: Snapshot, seed: int
) -> None:
    """Law 6, in its own G."""
    rows = np.argsort(snapshot.service, kind="stable")
    start, found = Batches(snapshot, rows), Batches(snapshot, rows)
    for temperature in (inf, 1.0, 1e-3):
        found.anneal(200, temperature, np.random.default_rng(seed))
    assert found.gain() >= start.gain()
    held = snapshot.context[rows] + snapshot.prefill[rows] + snapshot.remaining[rows]
    for k in set(found.best.tolist()):
        members = found.best == k
        assert members.sum() <= snapshot.limits.max_num_seqs
        assert held[members].sum() <= snapshot.limits.kv_tokens or members.sum() == 1


@settings(max_examples=100)
@given(snapshots(max_size=20), st.integers(0, 2**31), st.data())
def test_a_solution_is_a_permutation_and_the_same_for_the_same_seed(
    snapshot: Snapshot, seed: int, data: st.DataObject
) -> None:
    """Laws 4 and 8; running requests first, then the promoted."""
    promoted = data.draw(st.lists(st.sampled_from(range(len(snapshot))), unique=True, max_size=3))
    problem = Problem(snapshot, Objective(), promoted=np.array(promoted, dtype=np.int64))
    solver = SloSa(move_budget=100, seed=seed)
    first, second = solver.solve(problem), solver.solve(problem)
    np.testing.assert_array_equal(first.order, second.order)
    Plan(first.order).check(snapshot)
    running = snapshot.running
    assert not np.diff(running[first.order].astype(int)).clip(0).any()
    waiting = [row for row in promoted if not running[row]]
    assert list(first.order[running.sum() :][: len(waiting)]) == waiting
    assert first.moves <= 100


@given(snapshots(slo=st.just(Slo()), max_running=0))
def test_where_all_limits_are_met_the_shortest_go_first(snapshot: Snapshot) -> None:
    """Section 4.3: the search ends before it began."""
    found = SloSa().solve(Problem(snapshot, Objective()))
    assert found.moves == 0
    if len(snapshot) <= snapshot.limits.max_num_seqs:
        assert np.all(np.diff(snapshot.service[found.order]) >= 0)


def tight(n: int, slots: int, seed: int) -> Snapshot:
    """Requests of which about half can be on time."""
    rng = np.random.default_rng(seed)
    live = np.zeros(n, dtype=LIVE)
    live["serial"], live["first_token"], live["weight"] = np.arange(n), np.nan, 1
    live["prefill"] = rng.integers(1, 900, n)
    live["length"] = rng.integers(1, 120, n)
    interactive = rng.random(n) < 0.5
    live["ttft"] = np.where(interactive, rng.uniform(0.1, 6, n), inf)
    live["tpot"] = np.where(interactive, rng.uniform(0.03, 0.05, n), inf)
    live["e2e"] = np.where(interactive, inf, rng.uniform(1, 12, n))
    return Snapshot(0.0, live, EngineLimits(slots, 2048, 16, 100_000), LATENCY)


def exhaustive(snapshot: Snapshot) -> float:
    """G of the best of all deals."""
    n = len(snapshot)
    batches, best = Batches(snapshot, np.arange(n)), 0.0
    for deal in product(range(n), repeat=n):
        if max(deal.count(k) for k in deal) <= snapshot.limits.max_num_seqs:
            batches.best = np.array(deal)
            best = max(best, batches.gain())
    return best


def test_the_search_comes_within_a_few_percent_of_all_deals() -> None:
    """The paper's claim, section 5: about 1% from exhaustive search."""
    shares = []
    for seed in range(40):
        snapshot = tight(5, 2, seed)
        batches = Batches(snapshot, np.argsort(snapshot.service))
        SloSa().improve(batches)
        shares.append(batches.gain() / exhaustive(snapshot))
    assert max(shares) <= 1 + 1e-12
    assert np.mean(shares) > 0.98
    assert np.mean(np.array(shares) > 1 - 1e-12) > 0.8


@pytest.mark.parametrize("moves", [0, 1, 31, 100])
def test_no_more_moves_are_made_than_the_budget_has(moves: int) -> None:
    found = SloSa(move_budget=moves).solve(Problem(tight(12, 2, 1), Objective()))
    assert found.moves == moves


def test_time_ends_a_search_too() -> None:
    solver = SloSa(move_budget=10**9, time_budget_ms=2.0)
    assert solver.solve(Problem(tight(12, 2, 1), Objective())).moves < 10**9


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"move_budget": -1}, "move_budget must not be negative, got -1"),
        ({"time_budget_ms": 0}, "time_budget_ms must be greater than 0, got 0"),
        ({"acceptance": 1}, "acceptance must be above 0 and below 1, got 1"),
        ({"cooling": 0}, "cooling must be above 0 and below 1, got 0"),
    ],
)
def test_wrong_parameters_are_named(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SloSa(**options)  # type: ignore[arg-type]
