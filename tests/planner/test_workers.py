"""Workers: where plans are solved, and when their results show."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.planner import Beside, Charged, Inline, Worker
from slosched.planner.job import Solved
from tests.planner.parts import Faulty, Held, Newest, job_of, table_of

TABLE = table_of(3)


def waited_for(worker: Worker) -> Solved:
    """Return the next result of a thread; what never comes ends in the test's own time limit."""
    while (solved := worker.collect(0.0)) is None:
        time.sleep(1e-3)
    return solved


def test_in_the_step_a_result_is_there_at_once_and_only_once() -> None:
    worker = Inline()
    worker.submit(job_of(TABLE, Newest()))
    solved = worker.collect(0.0)
    assert solved is not None
    assert solved.plan is not None
    assert list(solved.plan.order) == [2, 1, 0]
    assert worker.collect(0.0) is None


@given(st.floats(1e-3, 10), st.lists(st.floats(0, 20), max_size=30))
def test_in_virtual_time_a_result_shows_once_it_is_paid_for(
    seconds: float, looks: list[float]
) -> None:
    """Law 3: no plan is seen before the clock has moved on by what it costs."""
    worker, policy = Charged(seconds), Newest()
    worker.submit(job_of(TABLE, policy, now=0.0))
    shown = False
    for now in sorted(looks):
        assert worker.busy is not shown
        solved = worker.collect(now)
        assert (solved is not None) == (now >= seconds and not shown)
        shown |= solved is not None


def test_in_virtual_time_the_newest_snapshot_is_next() -> None:
    worker, policy = Charged(1.0), Newest()
    for now in (0.0, 0.2, 0.4, 0.6):
        worker.submit(job_of(TABLE, policy, now))
    first = worker.collect(1.0)
    assert first is not None
    assert first.job.snapshot.now == 0.0
    assert worker.busy
    assert worker.collect(1.9) is None  # begun at 1.0, when the first was done
    second = worker.collect(2.0)
    assert second is not None
    assert second.job.snapshot.now == 0.6
    assert policy.seen == [0.0, 0.6]
    assert not worker.busy


def test_a_clock_that_jumps_sees_the_newest_result_alone() -> None:
    worker, policy = Charged(1.0), Newest()
    worker.submit(job_of(TABLE, policy, 0.0))
    worker.submit(job_of(TABLE, policy, 0.5))
    solved = worker.collect(50.0)
    assert solved is not None
    assert solved.job.snapshot.now == 0.5
    assert worker.collect(51.0) is None


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_time_is_not_given_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must not be negative"):
        Charged(seconds)


def test_the_thread_solves_the_newest_snapshot_next() -> None:
    worker, policy = Beside(), Held()
    worker.submit(job_of(TABLE, policy, 0.0))
    policy.begun.wait()
    for now in (1.0, 2.0, 3.0):  # none of these waits
        worker.submit(job_of(TABLE, policy, now))
        assert worker.collect(now) is None
        assert worker.busy
    policy.released.set()
    while waited_for(worker).job.snapshot.now < 3.0:
        pass
    assert policy.seen == [0.0, 3.0]
    assert not worker.busy
    worker.close()


def test_the_thread_survives_every_failure() -> None:
    """Law 14."""
    worker = Beside()
    for how in ("raises", "exits", "repeats"):
        worker.submit(job_of(TABLE, Faulty(how)))
        solved = waited_for(worker)
        assert solved.plan is None
        assert [mishap.event for mishap in solved.mishaps] == ["plan_failed"]
    worker.submit(job_of(TABLE, Faulty()))
    plan = waited_for(worker).plan
    assert plan is not None
    np.testing.assert_array_equal(plan.order, [2, 1, 0])
    worker.close()


def test_closing_waits_for_nobody_and_may_be_done_twice() -> None:
    """Law 14: a policy that hangs does not hold up the end."""
    worker, policy = Beside(), Held()
    worker.submit(job_of(TABLE, policy))
    policy.begun.wait()
    worker.close()
    worker.close()
    worker.submit(job_of(TABLE, policy, 1.0))  # too late, and no error
    policy.released.set()
    thread = worker._thread
    assert thread is not None
    thread.join()
    assert policy.seen == [0.0]


def test_a_policy_that_hangs_does_not_keep_the_program_from_ending() -> None:
    script = """
from threading import Event
from slosched.planner import Beside
from tests.planner.parts import Held, job_of, table_of
policy, worker = Held(), Beside()
worker.submit(job_of(table_of(1), policy))
policy.begun.wait()
print("the end")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert ended.stdout == "the end\n"
