"""What plans said, and what came of it."""

from dataclasses import dataclass

import numpy as np
import pytest

from slosched import EngineLimits, Plan, Request, Slo, Snapshot, TracedRequest
from slosched.planner import Fixed, Inline, Planner
from slosched.planner.expectations import Ended, Outcome
from slosched.planner.experience import Experience
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import NoGuard
from slosched.policies.planned import Planned
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched.sim.truth import NoisySteps
from slosched_solvers.anneal import Anneal
from tests.planner.parts import LIMITS, request, table_of
from tests.strategies import LATENCY


@dataclass
class Promising:
    """In order of arrival, and everything after so many seconds."""

    first: float = 1.0
    finish: float = 4.0

    def plan(self, snapshot: Snapshot) -> Plan:
        n = len(snapshot)
        seconds = np.full(n, self.first), np.full(n, self.finish)
        return Plan(np.arange(n), first=seconds[0], finish=seconds[1])


def make(policy: Promising) -> Planner:
    lengths = Oracle(lengths={f"r{i}": 20 for i in range(9)})
    return Planner(
        policy, lengths, NoGuard(), Fcfs(), worker=Inline(), margin=Fixed(), max_plan_age=99.0
    )


def speak(planner: Planner, row: int, now: float) -> None:
    rows = planner.table.rows
    rows["first_token"][row], rows["prefill"][row], rows["produced"][row] = now, 0, 1
    planner.table.version += 1  # so that there is a plan, before which the planner learns
    planner.plan(now, LIMITS, LATENCY)


def test_the_first_word_counts_of_a_first_token_and_the_last_before_the_slot_of_a_finish() -> None:
    policy = Promising()
    planner = make(policy)
    row, _ = planner.add(request(0)), planner.add(request(1))
    planner.plan(10.0, LIMITS, LATENCY)  # first token at 11, finish at 14
    policy.finish = 6.0
    planner.table.version += 1
    planner.plan(11.5, LIMITS, LATENCY)  # finish at 17.5
    planner.table.admit(row)
    policy.finish = 9.0
    speak(planner, row, 12.0)
    assert dict(planner.take_errors()) == pytest.approx({"first_token": 1.0})
    planner.finish("r0", 20, 18.0)
    planner.plan(18.2, LIMITS, LATENCY)
    assert dict(planner.take_errors()) == pytest.approx({"finish": 0.5})
    assert planner.take_errors() == []


def test_nothing_is_learnt_from_who_was_cancelled() -> None:
    planner = make(Promising())
    row = planner.add(request(0))
    planner.plan(0.0, LIMITS, LATENCY)
    planner.table.admit(row)
    speak(planner, row, 1.0)
    planner.take_errors()
    planner.remove("r0")
    planner.add(request(1))
    planner.plan(2.0, LIMITS, LATENCY)
    assert planner.take_errors() == []


def test_an_end_counts_from_when_it_came_however_late_the_next_plan() -> None:
    planner = make(Promising())
    row = planner.add(request(0))
    planner.plan(0.0, LIMITS, LATENCY)
    planner.table.rows["first_token"][row] = 1.5
    planner.finish("r0", 20, 3.0)
    planner.add(request(1))
    planner.plan(500.0, LIMITS, LATENCY)
    assert dict(planner.take_errors()) == pytest.approx({"first_token": 0.5, "finish": -1.0})


def test_a_row_forgets_the_request_before() -> None:
    policy = Promising()
    planner = make(policy)
    row, _ = planner.add(request(0)), planner.add(request(1))
    planner.plan(0.0, LIMITS, LATENCY)
    planner.remove("r0")
    policy.first = 3.0
    assert planner.add(request(2)) == row
    planner.plan(1.0, LIMITS, LATENCY)
    speak(planner, row, 5.0)
    assert dict(planner.take_errors()) == pytest.approx({"first_token": 1.0})


def test_what_a_plan_said_that_never_came_into_force_is_unsaid() -> None:
    """Or a solve that hung would teach that steps take ever so long."""
    experience = Experience(Oracle(lengths={}), 50, Fixed())
    table = table_of(2)
    snapshot, rows = table.snapshot(10.0, LIMITS, LATENCY)
    experience.expect(snapshot, rows, Promising().plan(snapshot))
    experience.take_back(10.0)
    experience.ended(Ended(table.request(0), 0, 0, 20.0, 30.0, 20))
    experience.learn(*table.snapshot(30.0, LIMITS, LATENCY))
    assert list(experience.errors) == []


def test_a_length_predicted_wrong_is_not_the_engines_fault() -> None:
    half = Outcome("finish", said_at=10.0, expected=20.0, actual=16.0, share=0.5)
    assert half.stretch == pytest.approx(1.2)
    assert half.error == pytest.approx(-4.0)


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_an_undisturbed_plan_comes_true_on_an_engine_as_believed(slower: float) -> None:
    """Law 7's other side: within a step; and late in proportion on one that is slower."""
    rng = np.random.default_rng(2)
    lengths = {f"r{i}": int(rng.integers(40, 90)) for i in range(12)}
    trace = [
        TracedRequest(Request(name, 0.0, int(rng.integers(10, 90)), Slo(ttft=9.0)), length)
        for name, length in lengths.items()
    ]
    policy = Planned(Anneal(time_budget_ms=None, move_budget=0))
    planner = Planner(policy, Oracle(lengths=lengths), NoGuard(), Fcfs(), margin=Fixed())
    engine = SimulatedEngine(
        planner, EngineLimits(4, 512, 16, 500), LATENCY, NoisySteps(LATENCY, slower)
    )
    records = engine.run(trace)
    errors = planner.take_errors()
    assert sum(what == "first_token" for what, _ in errors) == 12
    assert sum(what == "finish" for what, _ in errors) >= 11  # no plan came after the last
    first = [error for what, error in errors if what == "first_token"]
    expected = np.sort(records.first_token) / slower
    np.testing.assert_allclose(first, expected * (slower - 1), atol=0.25)
