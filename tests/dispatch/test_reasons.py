"""Why the next request is next, and the queue as people see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Replica
from slosched.dispatch.assignments.round_robin import RoundRobin
from tests.dispatch.test_dispatcher import dispatcher, planned
from tests.strategies import LATENCY, traces


def full(*requests: Request) -> Dispatcher:
    """One replica of one slot, which is taken, and some who wait under a plan."""
    queue = dispatcher(slower=())
    queue.add_replica(Replica("one", EngineLimits(1, 256, 16, 400), LATENCY))
    queue.submit(Request("there", 0.0, 20, Slo(e2e=99.0)))
    assert len(queue.release()) == 1
    for request in requests:
        queue.submit(request)
    planned(queue)
    return queue


@given(traces(max_size=15), st.integers(1, 3))
def test_each_queue_has_a_reason_that_names_its_first_two(
    trace: list[TracedRequest], replicas: int
) -> None:
    """What is exchanged and what it would cost is about the plan in force, of all who wait."""
    queue = dispatcher(slower=(1.0, 2.0, 0.7)[:replicas])
    for traced in trace:
        queue.submit(traced.request)
    planned(queue, 5.0)
    job = queue.reasons(5.0)
    assert job
    shown = queue.snapshot(5.0)
    for reason in job.explain():
        mine = [one.request_id for one in shown.waiting if one.replica == reason.replica]
        assert [reason.request_id, reason.runner_up] == [*mine, ""][:2]
        assert reason.work > 0
        assert reason.late + reason.saved <= len(trace)
        assert set(reason.late_ids) <= {traced.request.request_id for traced in trace}
    assert {reason.replica for reason in job.explain()} == {one.replica for one in shown.waiting}


def test_who_would_be_late_is_named() -> None:
    """Each answer takes the slot for over 4 s: behind two of them nobody has a token by 7 s."""
    urgent = Request("urgent", 0.0, 20, Slo(ttft=7.0))
    queue = full(Request("long", 0.0, 20, Slo(e2e=99.0)), urgent)
    job = queue.reasons(0.0)
    assert job
    [reason] = job.explain()
    assert (reason.request_id, reason.runner_up) == ("urgent", "long")
    assert reason.in_time
    assert (reason.late, reason.late_ids, reason.saved) == (1, ["urgent"], 0)
    assert 0 < reason.slack < 7.0
    shown = {one.request_id: one for one in queue.snapshot(0.0).waiting}
    assert shown["urgent"].slack == pytest.approx(reason.slack, abs=0.5)


def test_alone_there_is_no_runner_up_and_without_a_plan_no_reason() -> None:
    job = full(Request("alone", 0.0, 20, Slo(e2e=99.0))).reasons(0.0)
    assert job
    [reason] = job.explain()
    assert (reason.runner_up, reason.late, reason.delay) == ("", 0, 0.0)
    assert dispatcher(RoundRobin()).reasons(0.0) is None
    empty = dispatcher().reasons(0.0)
    assert empty
    assert empty.explain() == []


def test_asking_changes_nothing() -> None:
    queue = full(Request("a", 0.0, 20, Slo(e2e=9.0)), Request("b", 0.0, 20, Slo(e2e=9.0)))
    before = queue.snapshot(0.0)
    assert not queue.wants_plan
    job = queue.reasons(0.0)
    assert job
    job.explain()
    assert queue.snapshot(0.0) == before
    assert not queue.wants_plan


def test_a_view_of_the_first_few_counts_all() -> None:
    queue = full(*(Request(f"r{i}", 0.0, 20, Slo(e2e=9.0), f"c{i % 2}") for i in range(9)))
    queue.submit(Request("new", 0.0, 20, Slo(e2e=9.0), "c0"))
    whole, some = queue.snapshot(0.0), queue.snapshot(0.0, 3)
    assert some.waiting == whole.waiting[:3]
    assert len(whole.waiting) == 10
    assert some.by_class == {"c0": 6, "c1": 4}
    assert some.replicas == whole.replicas
    assert whole.waiting[-1].slack is None
    assert (
        queue.expected_tokens("r0") == {one.request_id: one.tokens for one in whole.waiting}["r0"]
    )
    assert queue.expected_tokens("nobody") is None
