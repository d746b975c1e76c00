"""What each simple policy says of three requests, and of the worst cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from slosched import EngineLimits, Plan, Request, Slo, Snapshot
from slosched.core.live import LiveTable
from slosched.core.protocols import Policy
from slosched.core.snapshot import SCENARIOS
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Planner
from slosched.policies.aged_sjf import AgedSjf
from slosched.policies.density import Density
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, NoGuard
from slosched.policies.isrtf import Isrtf
from slosched.policies.least_slack import LeastSlack
from slosched.policies.ltr import Ltr
from slosched.policies.priority import Priority
from slosched.policies.sjf import Sjf
from slosched.policies.ssjf import Ssjf
from slosched.predictors.history import History
from tests.strategies import LATENCY


def three() -> Snapshot:
    """Old and long; urgent and hopeless; young, short and important."""
    table = LiveTable()
    old = table.add(Request("old", 0.0, 100, Slo(e2e=100)))
    late = table.add(Request("late", 5.0, 100, Slo(ttft=2)))
    short = table.add(Request("short", 9.5, 100, Slo(ttft=1), priority=5))
    for row, length in ((old, 400), (late, 50), (short, 10)):
        table.rows["first_guess"][row] = length
        for scenario in SCENARIOS:
            table.rows[scenario][row] = length
    return table.snapshot(10.0, EngineLimits(max_num_seqs=1), LATENCY)[0]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Fcfs(), ["old", "late", "short"]),
        (Priority(), ["short", "old", "late"]),
        (Edf(), ["late", "short", "old"]),
        (LeastSlack(), ["short", "old", "late"]),
        (Sjf(), ["short", "late", "old"]),
        (AgedSjf(tokens_per_second=100), ["old", "late", "short"]),
        (Isrtf(), ["short", "late", "old"]),
        (Ltr(), ["short", "late", "old"]),
        (Ssjf(), ["short", "late", "old"]),
        (Density(), ["short", "late", "old"]),
    ],
)
def test_each_policy_has_its_order(policy: Policy, expected: list[str]) -> None:
    names = np.array(["old", "late", "short"])
    assert list(names[policy.plan(three()).order]) == expected


def test_isrtf_takes_a_slot_only_after_its_window() -> None:
    snapshot = three()
    snapshot.live["running"][0] = True
    snapshot.live["produced"][0] = 49
    assert len(Isrtf(window=50).plan(snapshot).preempt) == 0
    snapshot.live["produced"][0] = 50
    assert list(Isrtf(window=50).plan(snapshot).preempt) == [0]
    assert len(Isrtf(window=50, preemption=False).plan(snapshot).preempt) == 0


@pytest.mark.parametrize("policy", [Ssjf(), Ltr()])
def test_a_second_guess_changes_nothing_for_who_guesses_once(policy: Policy) -> None:
    snapshot = three()
    before = policy.plan(snapshot).order
    for scenario in SCENARIOS:
        snapshot.live[scenario] = [1, 2, 3]
    np.testing.assert_array_equal(policy.plan(snapshot).order, before)
    assert list(Sjf().plan(snapshot).order) != list(before)


def test_ltr_does_not_tell_answers_of_one_bucket_apart() -> None:
    snapshot = three()
    snapshot.live["first_guess"] = [29, 20, 30]
    assert list(Ltr().plan(snapshot).order) == [0, 1, 2]
    assert list(Ssjf().plan(snapshot).order) == [1, 0, 2]


def test_ltr_gives_the_slots_to_the_highest_scores() -> None:
    snapshot = three()
    snapshot.live["running"][0] = True
    as_published = Ltr(preemption=True)
    assert len(as_published.plan(snapshot).preempt) == 0  # its prompt would be for nothing
    snapshot.live["produced"][0] = 1
    assert list(as_published.plan(snapshot).preempt) == [0]
    assert len(Ltr().plan(snapshot).preempt) == 0
    snapshot.live["quantum"][0] = 1  # promoted by its guard
    assert list(as_published.plan(snapshot).order) == [0, 2, 1]
    assert len(as_published.plan(snapshot).preempt) == 0


def test_density_weighs_seconds_of_service() -> None:
    snapshot = three()
    snapshot.live["weight"] = [100, 1, 1]
    assert list(Density().plan(snapshot).order) == [0, 2, 1]


def test_the_guard_promotes_who_was_passed_too_often_and_lets_it_keep_its_slot() -> None:
    snapshot = three()
    snapshot.live["passes"] = [3, 0, 2]
    guard = BoundedPasses(passes=2)
    plan = Plan(np.array([1, 2, 0]), np.array([0])).promote(guard.promoted(snapshot))
    assert list(plan.order) == [0, 2, 1]
    assert len(plan.preempt) == 0


@dataclass(frozen=True)
class Broken:
    """A policy for tests that fails in every way."""

    how: str

    def plan(self, snapshot: Snapshot) -> Plan:
        if self.how == "raises":
            raise RuntimeError("solver down")
        wrong: dict[str, Any] = {
            "short": np.arange(len(snapshot) - 1),
            "twice": np.zeros(len(snapshot), dtype=np.int64),
            "floats": np.arange(len(snapshot), dtype=float),
        }
        if self.how == "preempts the waiting":
            return Plan(np.arange(len(snapshot)), np.array([0]))
        return Plan(wrong[self.how])


@dataclass(frozen=True)
class BrokenPredictor:
    """A predictor for tests that is down, and whose learning is too."""

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        raise RuntimeError(f"no model for {len(requests)} requests, {produced.sum()} tokens")

    def observe(self, request: Request, output_tokens: int) -> None:
        raise RuntimeError(f"cannot learn {output_tokens} from {request.request_id}")


def test_a_dead_predictor_does_not_stop_planning() -> None:
    """Law 14."""
    planner = Planner(Edf(), BrokenPredictor(), NoGuard(), fallback=Fcfs())
    rows = [planner.add(Request(f"r{i}", 0.0, 10, Slo(ttft=5.0 - i))) for i in range(3)]
    planner.plan(0.0, EngineLimits(), LATENCY)
    assert list(planner.table.rows["rank"][rows]) == [2, 1, 0]
    assert planner.failures == 1
    planner.finish("r0", 17, 1.0)
    planner.plan(1.0, EngineLimits(), LATENCY)
    assert planner.failures == 2


@pytest.mark.parametrize("how", ["raises", "short", "twice", "floats", "preempts the waiting"])
def test_a_broken_policy_leaves_the_greedy_order(how: str) -> None:
    """Law 14."""
    planner = Planner(Broken(how), History(), NoGuard(), fallback=Edf())
    rows = [planner.add(Request(f"r{i}", 0.0, 10, Slo(ttft=5.0 - i))) for i in range(3)]
    preempt = planner.plan(0.0, EngineLimits(), LATENCY).preempt
    assert list(planner.table.rows["rank"][rows]) == [2, 1, 0]
    assert len(preempt) == 0
    assert planner.failures == 1
