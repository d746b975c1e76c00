"""Plans for several engines: laws first, then what two engines of unlike speed are good for."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.fleet import NOWHERE, Engine, FleetProblem, FleetSnapshot
from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.objective import Objective, cost
from slosched.core.protocols import Problem
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched_solvers.anneal import Anneal
from slosched_solvers.fleet import FleetAnneal
from slosched_solvers.instance import build
from slosched_solvers.rollout_reference import rollout_reference
from tests.strategies import LATENCY, snapshots

SOLVER = FleetAnneal(time_budget_ms=None, move_budget=300)
SLOW = LATENCY.slower(3.0)


@st.composite
def fleets(draw: st.DrawFn) -> FleetSnapshot:
    """Some requests, of which some are bound to one of a few engines."""
    of: Snapshot = draw(snapshots(max_size=10))
    engines = [
        Engine(of.limits, LATENCY.slower(draw(st.floats(0.5, 4.0))))
        for _ in range(draw(st.integers(1, 3)))
    ]
    bound = np.where(
        of.running, [draw(st.integers(0, len(engines) - 1)) for _ in range(len(of))], NOWHERE
    )
    return FleetSnapshot(of.now, of.live, bound, engines)


@given(fleets(), st.sampled_from(["attainment", "tardiness", "latency"]))
def test_law_8_everybody_who_waits_is_in_one_queue_once(snapshot: FleetSnapshot, kind: str) -> None:
    found = SOLVER.solve(FleetProblem(snapshot, Objective(kind)))  # type: ignore[arg-type]
    waiting = np.flatnonzero(snapshot.bound == NOWHERE)
    assert sorted(np.concatenate(found.queues).tolist()) == waiting.tolist()
    chosen = found.replica_of(len(snapshot))
    assert (chosen[waiting] >= 0).all()
    assert (np.delete(chosen, waiting) == NOWHERE).all()


@given(fleets())
def test_law_6_it_costs_no_more_than_its_start(snapshot: FleetSnapshot) -> None:
    problem = FleetProblem(snapshot, Objective())
    assert SOLVER.solve(problem).cost <= SOLVER.start(problem).cost + 1e-9


@given(fleets())
def test_law_7_its_times_are_those_of_each_engine_by_itself(snapshot: FleetSnapshot) -> None:
    """The plain twin of the rollout, run on each engine's own requests, says the same."""
    objective = Objective()
    found = SOLVER.solve(FleetProblem(snapshot, objective))
    total = 0.0
    for r, queue in enumerate(found.queues):
        rows = np.concatenate((np.flatnonzero(snapshot.bound == r), queue))
        if not len(rows):
            continue
        alone = snapshot.at(r, rows)
        first, finish = rollout_reference(build(alone), np.arange(len(rows)))
        np.testing.assert_allclose(found.finish[rows], finish, rtol=1e-9)
        np.testing.assert_allclose(found.first[rows], first, rtol=1e-9)
        scale = len(rows) / len(snapshot)
        weights = alone.weight.sum() / snapshot.live["weight"].sum()
        parts = Objective("attainment", objective.latency_weight * scale, 0.0)
        total += cost(alone, parts, first, finish)
        slope = cost(alone, Objective("attainment", 0.0, objective.tardiness_weight), first, finish)
        total += (slope - cost(alone, Objective("attainment", 0.0, 0.0), first, finish)) * weights
    assert found.cost == pytest.approx(total)


@given(snapshots(max_size=10, max_running=0))
def test_one_engine_is_planned_as_well_as_by_its_own_annealer(of: Snapshot) -> None:
    """With a budget that is enough for so few."""
    bound = np.where(of.running, 0, NOWHERE)
    fleet = FleetSnapshot(of.now, of.live, bound, [Engine(of.limits, of.latency)])
    together = FleetAnneal(time_budget_ms=None, move_budget=2000).solve(
        FleetProblem(fleet, Objective())
    )
    alone = Anneal(time_budget_ms=None, move_budget=2000).solve(Problem(of, Objective()))
    assert together.cost <= alone.cost * 1.02 + 0.01


def waiting(n: int, *, slots: int, e2e: float, latencies: list[LinearLatency]) -> FleetSnapshot:
    table = LiveTable()
    for i in range(n):
        table.add(Request(f"r{i}", 0.0, 10, Slo(e2e=e2e)), 10.0)
    limits = EngineLimits(slots, 256, 16, 1000)
    snapshot, _ = table.snapshot(0.0, limits, LATENCY)
    engines = [Engine(limits, latency) for latency in latencies]
    return FleetSnapshot(0.0, snapshot.live, np.full(n, NOWHERE), engines)


def test_the_faster_engine_gets_more() -> None:
    snapshot = waiting(12, slots=1, e2e=inf, latencies=[LATENCY, SLOW])
    found = SOLVER.solve(FleetProblem(snapshot, Objective("latency")))
    assert [len(queue) for queue in found.queues] == [9, 3]


def test_who_cannot_be_in_time_on_the_slow_engine_waits_for_the_fast_one() -> None:
    """Ten steps of 30 ms: 0.3 s each on the fast engine, 0.9 s on the slow one."""
    snapshot = waiting(2, slots=1, e2e=0.7, latencies=[LATENCY, SLOW])
    found = SOLVER.solve(FleetProblem(snapshot, Objective()))
    assert [len(queue) for queue in found.queues] == [2, 0]
    assert found.attained == 2


def test_more_than_it_searches_over() -> None:
    snapshot = waiting(50, slots=2, e2e=2.0, latencies=[LATENCY, LATENCY])
    few = FleetAnneal(time_budget_ms=None, move_budget=100, horizon=10)
    found = few.solve(FleetProblem(snapshot, Objective()))
    assert sorted(np.concatenate(found.queues).tolist()) == list(range(50))
    assert np.isfinite(found.finish).all()


def test_what_was_planned_before_is_kept_by_many_engines() -> None:
    """With no time for anything else, those who wait stay where they were, as they were."""
    snapshot = waiting(60, slots=1, e2e=5.0, latencies=[LATENCY] * 12)
    engines = np.arange(60) % 12
    snapshot.live["rank"] = np.arange(60) // 12
    queued = np.where(np.arange(60) < 55, engines, NOWHERE)
    kept = FleetSnapshot(0.0, snapshot.live, snapshot.bound, snapshot.engines, queued)
    at_once = FleetAnneal(time_budget_ms=1e-6, per_engine_ms=0.0)
    found = at_once.solve(FleetProblem(kept, Objective()))
    for r, queue in enumerate(found.queues):
        before = list(range(r, 55, 12))
        assert [i for i in queue.tolist() if i < 55] == before
    assert sorted(np.concatenate(found.queues).tolist()) == list(range(60))
    searched = SOLVER.solve(FleetProblem(kept, Objective()))
    assert searched.cost <= found.cost + 1e-9


def test_engines_about_as_fast_are_of_a_kind_and_priced_by_their_own_speed() -> None:
    """More speeds than there are kinds: law 7 still holds for each engine by itself."""
    latencies = [LATENCY.slower(1.0 + 0.003 * r + (r % 3)) for r in range(40)]
    snapshot = waiting(120, slots=2, e2e=2.0, latencies=latencies)
    found = SOLVER.solve(FleetProblem(snapshot, Objective()))
    assert sorted(np.concatenate(found.queues).tolist()) == list(range(120))
    for r, rows in enumerate(found.queues):
        if len(rows):
            first, finish = rollout_reference(build(snapshot.at(r, rows)), np.arange(len(rows)))
            np.testing.assert_allclose(found.first[rows], first, rtol=1e-9)
            np.testing.assert_allclose(found.finish[rows], finish, rtol=1e-9)


def test_the_same_seed_gives_the_same_plan() -> None:
    """Law 4."""
    snapshot = waiting(30, slots=2, e2e=1.5, latencies=[LATENCY, SLOW, LATENCY])
    problem = FleetProblem(snapshot, Objective())
    one, two = SOLVER.solve(problem), SOLVER.solve(problem)
    assert [queue.tolist() for queue in one.queues] == [queue.tolist() for queue in two.queues]


def test_what_it_cannot_do() -> None:
    snapshot = waiting(2, slots=1, e2e=1.0, latencies=[LATENCY])
    with pytest.raises(ValueError, match="must not be g"):
        SOLVER.solve(FleetProblem(snapshot, Objective("g")))
    nowhere = FleetSnapshot(0.0, snapshot.live, snapshot.bound, [])
    with pytest.raises(ValueError, match="an engine at least"):
        SOLVER.solve(FleetProblem(nowhere, Objective()))
    for wrong in (
        {"time_budget_ms": None},
        {"per_engine_ms": -1.0},
        {"per_engine_ms": np.inf},
        {"move_budget": -1},
        {"horizon": 1},
        {"seed": -1},
    ):
        with pytest.raises(ValueError, match="must"):
            FleetAnneal(**wrong)  # type: ignore[arg-type]


@given(fleets())
def test_queues_are_priced_as_the_search_prices_them(snapshot: FleetSnapshot) -> None:
    problem = FleetProblem(snapshot, Objective())
    found = SOLVER.solve(problem)
    priced = SOLVER.price(problem, found.queues)
    assert priced.cost == pytest.approx(found.cost)
    assert priced.attained == found.attained
    np.testing.assert_array_equal(priced.finish, found.finish)
    np.testing.assert_array_equal(priced.first, found.first)


def test_who_is_in_no_queue_is_never_served() -> None:
    snapshot = waiting(3, slots=1, e2e=inf, latencies=[LATENCY, LATENCY])
    priced = SOLVER.price(FleetProblem(snapshot, Objective()), [np.array([2]), np.array([0])])
    assert np.isfinite(priced.finish).tolist() == [True, False, True]
    assert priced.attained == 2


@given(fleets())
def test_who_comes_adds_what_it_costs_at_its_best_place(snapshot: FleetSnapshot) -> None:
    """Beside all places in all queues, each priced by itself; of more than eight it tries some."""
    waiting = np.flatnonzero(snapshot.bound == NOWHERE)
    if not len(waiting):
        return
    newcomer, engines = waiting[-1:], len(snapshot.engines)
    problem = FleetProblem(snapshot, Objective())
    queues = [waiting[:-1][r::engines] for r in range(engines)]
    if max(map(len, queues)) > 8:
        return
    costs = []
    for r, queue in enumerate(queues):
        for place in range(len(queue) + 1):
            there = [*queues]
            there[r] = np.insert(queue, place, newcomer)
            costs.append(SOLVER.price(problem, there).cost)
    added = min(costs) - SOLVER.price(problem, queues).cost
    assert SOLVER.added(problem, queues, newcomer) == pytest.approx(added, abs=1e-6)
