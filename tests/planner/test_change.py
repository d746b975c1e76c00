"""A planner that is told to plan in another manner while requests are live."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from slosched import EngineLimits, LinearLatency, Plan, Request, Snapshot, TracedRequest
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Beside, Charged, Decision, Fixed, Inline, Learned, Manner, Planner
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, NoGuard
from slosched.policies.idle_steps import IdleSteps
from slosched.policies.planned import Planned
from slosched.policies.sjf import Sjf
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched_solvers.anneal import Anneal
from tests.planner.parts import Faulty, Held, Newest, make, request, step
from tests.planner.parts import thread_is_done_with as done
from tests.strategies import LATENCY, engine_limits, traces

PLANNED = Planned(Anneal(time_budget_ms=None, move_budget=40))
MANNERS: dict[str, Callable[[Oracle], Manner]] = {
    "fcfs": lambda known: Manner(Fcfs(), known, NoGuard(), standing=Fcfs()),
    "edf": lambda known: Manner(Edf(), known, NoGuard()),
    "sjf": lambda known: Manner(Sjf(), known, NoGuard(), repredict_tokens=3),
    "planned": lambda known: Manner(PLANNED, known, BoundedPasses(passes=5), worker=Charged(0.05)),
    "guarded": lambda known: Manner(
        Sjf(), known, BoundedPasses(passes=2), margin=Fixed(factor=1.3)
    ),
    "idle": lambda known: Manner(Sjf(), known, IdleSteps(idle=3, quantum=2), worker=Charged(0.01)),
    "broken": lambda known: Manner(Faulty("raises"), known, NoGuard(), worker=Charged(0.02)),
    "late": lambda known: Manner(PLANNED, known, NoGuard(), worker=Charged(3.0), patience=0.5),
}


class Changing(Planner):
    """Takes another manner every so many steps, and looks whether everybody has a place."""

    def __init__(self, names: Sequence[str], every: int, lengths: Oracle) -> None:
        super().__init__(Newest(), lengths, NoGuard(), Edf())
        self._names, self._every, self._calls = cycle(names), every, 0
        self.changes, self.lengths = 0, lengths

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> Decision:
        self._calls += 1
        if self._calls % self._every == 0:
            keep = bool(self._calls % 2)
            self.change(MANNERS[next(self._names)](self.lengths), keep_predictor=keep)
            self.changes += 1
        decision = super().plan(now, limits, latency)
        rows, live = self.table.rows, self.table.live()
        assert len(set(rows["rank"][live].tolist())) == len(live)
        assert rows["running"][decision.preempt].all()
        assert 1 <= decision.max_num_seqs <= limits.max_num_seqs
        assert 1 <= decision.max_num_batched_tokens <= limits.max_num_batched_tokens
        return decision


@settings(max_examples=100)
@given(
    traces(),
    st.lists(st.sampled_from(sorted(MANNERS)), min_size=1, max_size=4),
    st.integers(1, 12),
    engine_limits(),
)
def test_whatever_it_changes_to_nobody_is_lost(
    trace: list[TracedRequest], names: list[str], every: int, limits: EngineLimits
) -> None:
    """Laws 1, 2 and 8: who is live at a change is served, and has one place at any time."""
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    planner = Changing(names, every, lengths)
    engine = SimulatedEngine(planner, limits, LATENCY)
    with capture_logs():
        records = engine.run(trace)
    kv_tokens = (limits.num_kv_blocks - 1) * limits.block_size
    lost = [t.request.input_tokens + t.output_tokens > kv_tokens for t in trace]
    np.testing.assert_array_equal(~records.finished, lost)
    assert len(planner.table) == 0
    assert engine.free_blocks == limits.num_kv_blocks - 1


@settings(max_examples=20)
@given(
    traces(), st.lists(st.sampled_from(sorted(MANNERS)), min_size=1, max_size=4), st.integers(1, 12)
)
def test_changes_come_the_same_every_time(
    trace: list[TracedRequest], names: list[str], every: int
) -> None:
    """Law 4."""
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    with capture_logs():
        runs = [
            SimulatedEngine(Changing(names, every, lengths), EngineLimits(4, 256), LATENCY)
            for _ in range(2)
        ]
        first, second = (engine.run(trace).finish for engine in runs)
    np.testing.assert_array_equal(first, second)


@dataclass
class Noting:
    """Predicts 20 for all, and notes of whom it was asked."""

    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        self.asked += [request.request_id for request in requests]
        return np.full(len(produced), 20.0)

    def improved(self) -> Sequence[str]:
        return ()

    take_seconds = take_errors = improved  # type: ignore[assignment]

    def close(self) -> None:
        self.closed = True


def planner_of(policy: object, predictor: Noting, **options: object) -> Planner:
    return Planner(policy, predictor, NoGuard(), Fcfs(), **options)  # type: ignore[arg-type]


def test_a_predictor_that_stays_is_not_asked_again() -> None:
    first, other = Noting(), Noting()
    planner = planner_of(Edf(), first)
    planner.add(request(0))
    step(planner, 0.0)
    planner.change(Manner(Sjf(), other, NoGuard()), keep_predictor=True)
    step(planner, 1.0)
    assert (first.asked, other.asked, first.closed) == (["r0"], [], False)


def test_a_new_predictor_is_asked_of_all_who_live_and_the_old_one_closed() -> None:
    first, other = Noting(), Noting()
    planner = planner_of(Edf(), first)
    planner.add(request(0))
    step(planner, 0.0)
    planner.change(Manner(Edf(), other, NoGuard()), keep_predictor=False)
    step(planner, 1.0)
    assert (first.asked, other.asked, first.closed) == (["r0"], ["r0"], True)
    planner.close()
    assert other.closed


def test_of_two_changes_in_a_row_the_first_is_closed() -> None:
    first, second, third = Noting(), Noting(), Noting()
    planner = planner_of(Edf(), first)
    planner.change(Manner(Edf(), second, NoGuard()), keep_predictor=False)
    planner.change(Manner(Edf(), third, NoGuard()), keep_predictor=False)
    assert second.closed
    planner.change(Manner(Edf(), third, NoGuard()), keep_predictor=True)
    assert third.closed
    assert not first.closed


def test_the_margin_stays_under_the_same_rule() -> None:
    planner = planner_of(Edf(), Noting(), margin=Learned())
    planner.margin.factor = 1.5
    same = Manner(Edf(), Noting(), NoGuard(), margin=Learned())
    planner.change(same, keep_predictor=False)
    step(planner, 0.0)
    assert planner.margin.factor == 1.5
    planner.change(
        Manner(Edf(), Noting(), NoGuard(), margin=Fixed(factor=1.2)), keep_predictor=True
    )
    step(planner, 1.0)
    assert planner.margin.factor == 1.2


def test_a_standing_order_is_everybodys_at_once() -> None:
    planner = make(Newest(), Inline())
    for i in range(3):
        planner.add(request(i))
    assert list(step(planner, 0.0)) == [2, 1, 0]
    before = planner.version
    fcfs = Manner(Fcfs(), Oracle(lengths={}), NoGuard(), standing=Fcfs())
    planner.change(fcfs, keep_predictor=True)
    planner.add(request(3))
    assert list(step(planner, 1.0)) == [0, 1, 2, 3]
    assert planner.version > before


@pytest.fixture
def beside() -> Iterator[Callable[[object], Planner]]:
    made: list[Planner] = []

    def planner(policy: object) -> Planner:
        made.append(make(policy, Beside(), patience=0.5))  # type: ignore[arg-type]
        return made[-1]

    yield planner
    for one in made:
        one.close()


def test_a_solve_under_way_comes_to_its_end_first(
    beside: Callable[[object], Planner],
) -> None:
    slow = Held()
    planner = beside(slow)
    for i in range(3):
        planner.add(request(i))
    step(planner, 0.0)
    slow.begun.wait()
    planner.change(Manner(Sjf(), Oracle(lengths={}), NoGuard()), keep_predictor=True)
    assert list(step(planner, 0.1)) == [0, 1, 2]
    assert not isinstance(planner.manner.policy, Sjf)
    slow.released.set()
    done(planner.manner.worker)  # type: ignore[arg-type]
    step(planner, 0.2)
    assert isinstance(planner.manner.policy, Sjf)
    assert slow.seen == [0.0]


def test_a_solve_that_hangs_is_not_waited_for(beside: Callable[[object], Planner]) -> None:
    slow = Held()
    planner = beside(slow)
    planner.add(request(0))
    with capture_logs():
        step(planner, 0.0)
        planner.change(Manner(Newest(), Oracle(lengths={}), NoGuard()), keep_predictor=True)
        for now in (0.1, 1.0, 1.1):
            step(planner, now)
    assert isinstance(planner.manner.policy, Newest)
    assert planner.failures == 1
    slow.released.set()


def test_a_policy_that_fails_gives_way_to_one_that_does_not() -> None:
    planner = make(Faulty("raises"), Charged(0.05))
    planner.add(request(0))
    planner.add(request(1))
    with capture_logs():
        for now in (0.0, 0.1, 0.2):
            step(planner, now)
        planner.change(Manner(Newest(), Oracle(lengths={}), NoGuard()), keep_predictor=True)
        assert list(step(planner, 0.3)) == [1, 0]


@dataclass(frozen=True)
class Looks:
    """Remembers nothing; says whether places of another's plan are shown to it."""

    def plan(self, snapshot: Snapshot) -> Plan:
        assert (snapshot.live["rank"] == snapshot.live["rank"].max()).all()
        return Plan(np.arange(len(snapshot)))


def test_places_by_another_policy_are_no_part_of_a_plan() -> None:
    planner = make(Newest(), Inline())
    for i in range(3):
        planner.add(request(i))
    step(planner, 0.0)
    planner.change(Manner(Looks(), Oracle(lengths={}), NoGuard()), keep_predictor=True)
    step(planner, 1.0)
    assert planner.failures == 0
