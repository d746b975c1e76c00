"""Predicted lengths in planning: when they are asked for, and what if nobody answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import pytest
from structlog.testing import capture_logs

from slosched import Request, Slo
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Beside, Charged, Inline, Planner, Worker
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import NoGuard
from tests.planner.parts import Newest, make, request, step, thread_is_done_with


@dataclass
class Says:
    length: float
    asked: int = field(default=0)

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        self.asked += len(requests)
        return np.maximum(self.length - produced.astype(float), 1.0)


@pytest.mark.parametrize(("worker", "asked"), [(Inline(), 2), (Charged(0.01), 1)])
def test_lengths_are_predicted_for_plans_and_planned_for_alone_only_if_that_is_free(
    worker: Worker, asked: int
) -> None:
    says, policy = Says(100.0), Newest()
    planner = Planner(
        policy, says, NoGuard(), Fcfs(), worker=worker, repredict_tokens=50, max_plan_age=9.0
    )
    row = planner.add(request(0))
    step(planner, 0.0)
    planner.table.rows["produced"][row] = 50
    step(planner, 1.0)
    assert says.asked == len(policy.seen) == asked
    says.length = 300.0
    planner.add(request(1))
    for now in (2.0, 3.0):
        step(planner, now)
    assert says.asked == 3
    assert planner.table.rows["length"][row] == 300 - 200 * (asked - 1)


def test_a_newcomer_is_expected_to_be_as_long_as_others_were() -> None:
    planner = Planner(Newest(), Says(100.0), NoGuard(), Fcfs())
    for i in range(200):
        planner.add(request(i))
        step(planner, float(i))
        planner.finish(f"r{i}", 30, i + 0.5)
    row = planner.add(request(200))
    assert planner.table.rows["length"][row] == pytest.approx(30, abs=5)


def test_a_newcomer_is_expected_to_say_no_more_than_it_may() -> None:
    planner = make(Newest())
    row = planner.add(Request("brief", 0.0, 10, Slo(e2e=2.0), max_tokens=5))
    assert planner.table.rows["length"][row] == 5


@dataclass
class Stuck:
    """A predictor that does not come back from a call until a test lets it."""

    call: str
    begun: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        self._maybe("remaining")
        return np.full(len(requests), 100.0) - produced

    def observe(self, request: Request, output_tokens: int) -> None:
        del request, output_tokens
        self._maybe("observe")

    def _maybe(self, call: str) -> None:
        if call == self.call:
            self.begun.set()
            self.released.wait()


@pytest.mark.parametrize("call", ["remaining", "observe"])
def test_a_predictor_that_hangs_leaves_the_greedy_order(call: str) -> None:
    """Law 14: nobody but the thread asks it."""
    stuck, worker = Stuck(call), Beside()
    planner = Planner(Newest(), stuck, NoGuard(), Fcfs(), worker=worker, patience=1.0)
    planner.add(request(0, ttft=60.0))
    planner.finish("r0", 9, 0.0)
    for i in (1, 2):
        planner.add(request(i, ttft=60.0))
    step(planner, 0.0)
    stuck.begun.wait()
    planner.add(request(3, ttft=60.0))
    step(planner, 1.1)
    assert list(step(planner, 1.2)) == [0, 1, 2]
    assert planner.failures == 1
    stuck.released.set()
    thread_is_done_with(worker)
    assert list(step(planner, 1.3)) == [2, 1, 0]
    planner.close()


@pytest.mark.parametrize("error", [RuntimeError("no model"), SystemExit(1)])
def test_a_predictor_that_fails_is_to_blame_itself(error: BaseException) -> None:
    """Law 14."""

    class Broken:
        def remaining(self, *_: object) -> FloatArray:
            raise error

        def observe(self, *_: object) -> None:
            raise error

    planner = Planner(Newest(), Broken(), NoGuard(), Fcfs())
    with capture_logs() as logs:
        planner.add(request(0))
        step(planner, 0.0)
        planner.finish("r0", 9, 0.0)
        planner.add(request(1))
        step(planner, 1.0)
    assert [entry["event"] for entry in logs] == ["prediction_failed", "learning_failed"]
    assert planner.plans == 2


@dataclass
class FindsOut:
    """A predictor that answers 100, and finds out more when a test says so."""

    length: float = 100.0
    heard: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    closed: bool = False

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        return np.full(len(requests), self.length) - produced

    def improved(self) -> Sequence[str]:
        return [self.heard.pop() for _ in range(len(self.heard))]

    def take_seconds(self) -> Sequence[float]:
        return [0.01]

    def take_errors(self) -> Sequence[BaseException]:
        return [self.errors.pop() for _ in range(len(self.errors))]

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("worker", [Inline(), Charged(0.01)])
def test_what_a_predictor_finds_out_is_planned_for_at_once(worker: Worker) -> None:
    says, policy = FindsOut(), Newest()
    planner = Planner(policy, says, NoGuard(), Fcfs(), worker=worker, max_plan_age=9.0)
    row = planner.add(request(0))
    step(planner, 0.0)
    step(planner, 0.1)
    step(planner, 0.2)
    assert (planner.table.rows["length"][row], len(policy.seen)) == (100, 1)
    says.length, says.heard = 300.0, ["r0", "long gone"]
    step(planner, 0.3)
    step(planner, 0.4)
    assert (planner.table.rows["length"][row], len(policy.seen)) == (300, 2)
    assert planner.failures == 0
    assert planner.take_predictions() == [0.01]


def test_what_goes_wrong_in_a_predictor_of_its_own_is_counted() -> None:
    says = FindsOut(errors=[OSError("no such model")])
    planner = Planner(Newest(), says, NoGuard(), Fcfs())
    with capture_logs() as logs:
        planner.take_predictions()
    assert (planner.failures, logs[0]["event"]) == (1, "prediction_failed")
    says.improved = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    planner.add(request(0))
    step(planner, 0.0)
    assert planner.failures == 2
    planner.close()
    assert says.closed
