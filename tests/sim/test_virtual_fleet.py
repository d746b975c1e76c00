"""Fleets in virtual time: laws first, then when plans are in force, and who shares requests out."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Replica
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.predictors.history import History
from slosched.sim.engine import SimulatedEngine
from slosched.sim.fleet import SHARINGS, Pace, Shard, Sharing, VirtualFleet
from slosched.sim.options import EngineOptions
from slosched.sim.records import Records
from slosched_solvers.fleet import FleetAnneal
from tests.strategies import LATENCY, traces

LIMITS = EngineLimits(4, 256, 16, 400)
OPTIONS = EngineOptions("vllm-fcfs")


def shard(replicas: int, pace: Pace | None = None, first: int = 0) -> Shard:
    solver = FleetAnneal(time_budget_ms=None, move_budget=50)
    dispatcher = Dispatcher(PlannedFleet(solver), History())
    names = [f"replica {first + i}" for i in range(replicas)]
    for name in names:
        dispatcher.add_replica(Replica(name, LIMITS, LATENCY))
    engines = {name: SimulatedEngine(None, LIMITS, LATENCY, options=OPTIONS) for name in names}
    return Shard(dispatcher, engines, pace or Pace(plan_s=0.01))


def fleet(sizes: list[int], sharing: Sharing = "hash", pace: Pace | None = None) -> VirtualFleet:
    starts = np.cumsum([0, *sizes]).tolist()
    shards = [shard(n, pace, first) for n, first in zip(sizes, starts, strict=False)]
    return VirtualFleet(shards, sharing)


def burst(n: int, prompt: int = 20, arrival: float = 0.0) -> list[TracedRequest]:
    return [TracedRequest(Request(f"r{i}", arrival, prompt, Slo(e2e=10.0)), 8) for i in range(n)]


@given(
    traces(max_size=20),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.sampled_from(SHARINGS),
    st.floats(0, 0.3),
    st.sampled_from([1, 8, float("inf")]),
)
def test_law_1_everybody_is_served_once_by_one_shard(
    trace: list[TracedRequest], sizes: list[int], sharing: Sharing, plan_s: float, heard: float
) -> None:
    made = fleet(sizes, sharing, Pace(plan_s=plan_s, heard_every=heard))
    records = made.run(trace)
    sent = [request_id for one in made.shards for request_id, _ in one.sent]
    assert sorted(sent) == sorted(t.request.request_id for t in trace)
    assert records.finished.all()
    assert (records.finish >= records.first_token).all()
    assert (records.first_token >= records.arrival).all()
    assert all(one.live == one.dispatcher.waiting == 0 for one in made.shards)


@given(traces(max_size=15))
def test_law_4_the_same_trace_is_served_the_same(trace: list[TracedRequest]) -> None:
    def served() -> Records:
        return fleet([2, 1], "least_loaded").run(trace)

    one, two = served(), served()
    np.testing.assert_array_equal(one.finish, two.finish)
    np.testing.assert_array_equal(one.first_token, two.first_token)


def test_a_plan_is_in_force_only_once_it_is_made() -> None:
    """Four slots are taken at once; the fifth request waits for a slot, and for a plan."""
    for plan_s in (0.0, 0.05, 5.0):
        made = fleet([1], pace=Pace(plan_every_s=0.0, plan_s=plan_s))
        records = made.run(burst(9))
        fifth = np.sort(records.first_token)[4]
        assert fifth > min(plan_s, records.finish.min())
        figures = made.shards[0].figures
        assert figures.plan_s == [plan_s] * len(figures.plan_s)
        assert all(age >= plan_s for age in figures.ages)


def test_plans_are_as_far_apart_as_they_are_to_be() -> None:
    many = fleet([1], pace=Pace(plan_every_s=0.0, plan_s=0.01))
    few = fleet([1], pace=Pace(plan_every_s=1.0, plan_s=0.01))
    many.run(burst(30))
    few.run(burst(30))
    assert len(few.shards[0].figures.plan_s) < len(many.shards[0].figures.plan_s)


def test_a_plan_takes_as_long_as_it_took_where_nothing_else_is_said() -> None:
    made = fleet([1], pace=Pace())
    made.run(burst(12))
    figures = made.shards[0].figures
    took = [a + b for a, b in zip(figures.solve_s, figures.lock_s, strict=True)]
    assert sum(figures.plan_s) == pytest.approx(sum(took), rel=0.5)
    assert figures.events == 12 * (1 + 8)
    assert figures.busy_s > 0


def test_requests_are_shared_out() -> None:
    for sharing in SHARINGS:
        made = fleet([2, 2], sharing)
        made.run(burst(200))
        counts = [len(one.sent) for one in made.shards]
        assert sum(counts) == 200
        assert min(counts) > 60, (sharing, counts)
    uneven = fleet([1, 3], "least_loaded")
    uneven.run(burst(200))
    assert len(uneven.shards[1].sent) == pytest.approx(150, abs=10)


def test_who_fits_into_no_engine_is_not_served_and_holds_nobody_up() -> None:
    trace = [*burst(6), TracedRequest(Request("huge", 0.0, 10**6, Slo(e2e=1.0)), 5)]
    told: Counter[int] = Counter()
    records = fleet([2]).run(trace, progress=lambda done: told.update([done]))
    assert records.finished.tolist() == [True] * 6 + [False]
    assert max(told) == 7


def test_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="at least one"):
        VirtualFleet([])
    late, early = burst(1, arrival=2.0), burst(1)
    with pytest.raises(ValueError, match="sorted by arrival"):
        fleet([1]).run([*late, *early])
    for wrong in ({"plan_every_s": -1.0}, {"plan_s": -1.0}, {"heard_every": 0}):
        with pytest.raises(ValueError, match="must"):
            Pace(**wrong)  # type: ignore[arg-type]
