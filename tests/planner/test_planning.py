"""The planner, step by step, on a clock that the tests move."""

from dataclasses import dataclass

import numpy as np
import pytest
from structlog.testing import capture_logs

from slosched import EngineLimits, Plan, Request, Slo, Snapshot
from slosched.core.types import IntArray, LiveArray
from slosched.planner import Beside, Charged, Fixed, Inline, Planner
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, NoGuard
from slosched.predictors.history import History
from slosched.predictors.oracle import Oracle
from tests.planner.parts import (
    LIMITS,
    Faulty,
    Held,
    Newest,
    make,
    request,
    step,
    thread_is_done_with,
)
from tests.strategies import LATENCY


def test_a_plan_comes_into_force_when_it_is_paid_for() -> None:
    planner = make(Newest(), Charged(0.05))
    planner.add(request(0))
    planner.add(request(1))
    assert list(step(planner, 0.0)) == [0, 1]  # by the rule for newcomers
    assert planner.plan_age(0.0) == 0
    assert list(step(planner, 0.04)) == [0, 1]
    assert planner.plans == 0
    assert list(step(planner, 0.06)) == [1, 0]
    assert planner.plans == 1
    assert planner.plan_age(0.06) == 0.06
    assert len(planner.take_solves()) == 1
    assert planner.take_solves() == []


def test_who_comes_later_has_a_place_at_once() -> None:
    planner = make(Newest(), Charged(0.05))
    planner.add(request(0))
    planner.add(request(1))
    for now in (0.0, 0.1):
        step(planner, now)
    before = planner.version
    planner.add(request(2, ttft=60.0))
    planner.add(Request("r3", 0.1, 10, Slo(ttft=0.06)))
    assert list(step(planner, 0.11)) == [3, 1, 0, 2]
    assert planner.version == before  # nobody else moved
    assert list(step(planner, 0.17)) == [3, 2, 1, 0]  # the plan that knows all of them
    assert planner.version > before


def test_nothing_is_planned_twice_until_the_plan_is_old() -> None:
    policy = Newest()
    planner = make(policy, max_plan_age=1.0)
    planner.add(request(0))
    for now in (0.0, 0.5, 1.0, 1.2, 1.5, 2.3):
        step(planner, now)
    assert policy.seen == [0.0, 1.2, 2.3]


def test_a_busy_worker_is_given_the_state_that_is_newest_when_it_is_done() -> None:
    policy = Newest()
    planner = make(policy, Charged(1.0))
    for i, now in enumerate((0.0, 0.2, 0.4, 0.6, 1.1)):
        planner.add(request(i))
        step(planner, now)
    assert policy.seen == [0.0, 1.1]


def test_an_engine_that_does_not_hand_over_is_planned_for_all_the_same() -> None:
    policy = Newest()
    planner = make(policy, Charged(0.05))
    planner.add(request(0))
    for now in (0.0, 0.1):
        planner.plan(now, LIMITS, LATENCY)
    assert policy.seen == [0.0]
    assert planner.plans == 1


def test_what_is_handed_over_has_the_steps_own_admissions_in_it() -> None:
    seen: list[list[bool]] = []

    class Watching(Newest):
        def plan(self, snapshot: Snapshot) -> Plan:
            seen.append(snapshot.running.tolist())
            return super().plan(snapshot)

    planner = make(Watching(), Charged(0.05))
    row = planner.add(request(0))
    planner.plan(0.0, LIMITS, LATENCY)
    planner.hand_over()
    planner.plan(0.1, LIMITS, LATENCY)
    planner.table.admit(row)
    planner.hand_over()
    assert seen == [[False], [True]]


@dataclass
class Preempting:
    """Preempts whoever runs, and keeps slots and tokens back."""

    gates: tuple[int | None, int | None] = (1, 8)

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan(np.arange(len(snapshot)), np.flatnonzero(snapshot.running), *self.gates)


def test_only_who_still_runs_is_preempted() -> None:
    planner = make(Preempting(), Charged(0.05))
    rows = [planner.add(request(i)) for i in range(4)]
    for row in rows[:3]:
        planner.table.admit(row)
    step(planner, 0.0)
    planner.table.preempt(rows[0], 10)
    planner.remove("r1")
    assert planner.add(request(9)) == rows[1]  # whose row goes to somebody else
    planner.table.admit(rows[1])
    decision = planner.plan(0.1, LIMITS, LATENCY)
    assert list(decision.preempt) == [rows[2]]
    assert (decision.max_num_seqs, decision.max_num_batched_tokens) == (1, 8)
    assert list(planner.plan(0.11, LIMITS, LATENCY).preempt) == []  # once


def test_limits_of_a_plan_do_not_outlast_it() -> None:
    policy = Preempting()
    planner = make(policy)
    planner.add(request(0))
    assert planner.plan(0.0, LIMITS, LATENCY).max_num_seqs == 1
    narrower = EngineLimits(1, 4, 16, 100)
    assert planner.plan(0.1, narrower, LATENCY).max_num_batched_tokens == 4
    planner.remove("r0")
    assert planner.plan(0.2, LIMITS, LATENCY).max_num_seqs == LIMITS.max_num_seqs
    policy.gates = (None, None)
    planner.add(request(1))
    decision = planner.plan(0.3, LIMITS, LATENCY)
    assert decision.max_num_seqs == LIMITS.max_num_seqs
    assert decision.max_num_batched_tokens == LIMITS.max_num_batched_tokens


def test_a_plan_for_those_who_are_gone_is_not_put_in_force() -> None:
    planner = make(Preempting(), Charged(0.05))
    planner.add(request(0))
    step(planner, 0.0)
    planner.remove("r0")
    planner.add(request(1))
    assert planner.plan(9.0, LIMITS, LATENCY).max_num_seqs == LIMITS.max_num_seqs
    assert planner.plan_age(9.0) == 0
    assert planner.plans == 0


def test_a_plan_whose_requests_are_all_gone_grows_no_older() -> None:
    """Law 14 bounds the age of a plan, and one that is outdated before it is done renews none."""
    planner = make(Newest(), Charged(1.0))
    planner.add(request(0))
    step(planner, 0.0)
    planner.add(request(1))
    step(planner, 1.0)  # the first plan comes into force, the second is solved
    planner.remove("r0")
    planner.remove("r1")
    planner.add(request(2))
    step(planner, 2.0)
    assert planner.plan_age(2.5) == 0


# -- law 14 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "exits", "repeats"])
@pytest.mark.parametrize("worker", [Inline, lambda: Charged(0.05)])
def test_the_fallback_ranks_until_plans_come_again(how: str, worker: type[Inline]) -> None:
    """Law 14: the newest first is the policy's order, first come first served the fallback's."""
    policy = Faulty(how)
    planner = make(policy, worker())
    with capture_logs() as logs:
        for i in range(3):
            planner.add(request(i, ttft=60.0))
            step(planner, float(i))
        assert list(step(planner, 3.0)) == [0, 1, 2]
        failures = planner.failures
        assert failures >= 2
        assert [entry["event"] for entry in logs] == ["plan_failed"]
    step(planner, 3.1)
    assert planner.failures - failures <= 1  # nothing changed: at most what was in flight
    policy.how = ""
    planner.add(request(3, ttft=60.0))
    for now in (4.0, 4.1):
        step(planner, now)
    assert list(step(planner, 4.2)) == [3, 2, 1, 0]


def test_a_policy_that_hangs_leaves_the_greedy_order_until_it_comes_back() -> None:
    """Law 14: the step does not wait; past its patience it ranks by the fallback."""
    policy, worker = Held(), Beside()
    planner = make(policy, worker, patience=1.0)
    for i in range(2):
        planner.add(request(i, ttft=60.0))
    with capture_logs() as logs:
        step(planner, 0.0)
        policy.begun.wait()
        step(planner, 0.9)
        assert planner.failures == 0
        step(planner, 1.1)
        planner.table.rows["rank"][:] = 0  # to see who ranks
        planner.add(request(2, ttft=60.0))
        assert list(step(planner, 1.2)) == [0, 1, 2]
        assert planner.table.rows["rank"][:3].tolist() == [0, 1, 2]
        assert [entry["event"] for entry in logs] == ["plan_late"]
    assert planner.failures == 1
    assert planner.plan_age(1.2) == 0  # of the fallback's

    policy.released.set()
    thread_is_done_with(worker)
    assert list(step(planner, 1.3)) == [2, 1, 0]
    assert policy.seen == [0.0, 1.2]  # the newest snapshot came next
    assert planner.failures == 1
    planner.close()


def test_what_comes_too_late_does_not_undo_what_is_newer() -> None:
    """A hung solve's plan is older than the order that the fallback has made since."""
    policy, worker = Held(), Beside()
    planner = make(policy, worker, patience=1.0)
    for i in range(2):
        planner.add(request(i, ttft=60.0))
    step(planner, 0.0)
    policy.begun.wait()
    assert list(step(planner, 2.0)) == [0, 1]
    worker._waiting = None  # as if the thread had had no time for it
    policy.released.set()
    thread_is_done_with(worker)
    assert list(step(planner, 2.1)) == [0, 1]
    assert planner.plans == 0
    thread_is_done_with(worker)
    assert list(step(planner, 2.2)) == [1, 0]
    planner.close()


def test_a_broken_fallback_leaves_the_order_of_arrival() -> None:
    """Law 14."""
    broken = Faulty("raises")
    planner = Planner(broken, Oracle(lengths={}), BrokenGuard(), broken)
    for i in range(3):
        planner.add(request(i))
    assert list(step(planner, 0.0)) == [0, 1, 2]


class BrokenGuard:
    def tick(self, live: LiveArray, rows: IntArray) -> bool:
        raise RuntimeError(f"cannot count {len(rows)} of {len(live)}")

    def promoted(self, snapshot: Snapshot) -> IntArray:
        raise RuntimeError(f"cannot promote any of {len(snapshot)}")


def test_the_guard_holds_under_the_fallback_too() -> None:
    """Law 13: starving is no better when the policy is down."""
    planner = Planner(Faulty("raises"), Oracle(lengths={}), BoundedPasses(passes=1), Fcfs())
    rows = [planner.add(request(i)) for i in range(3)]
    planner.table.rows["passes"][rows[2]] = 1
    assert list(step(planner, 0.0)) == [2, 0, 1]


def test_who_was_promoted_goes_before_newcomers_in_haste() -> None:
    """Law 13: or a stream of them would starve it after all."""
    planner = Planner(
        Fcfs(), Oracle(lengths={}), BoundedPasses(passes=1), Fcfs(), worker=Charged(0.01)
    )
    row = planner.add(request(0))
    planner.table.rows["passes"][row] = 1
    for now in (0.0, 0.1):
        step(planner, now)
    planner.add(Request("hasty", 0.1, 10, Slo(ttft=0.05)))
    assert list(step(planner, 0.1)) == [0, 1]


# -- from start to end -------------------------------------------------------------------------


def test_warming_up_solves_here_and_leaves_nothing_behind() -> None:
    seen: list[tuple[int, int, bool]] = []

    class Watching(Newest):
        def plan(self, snapshot: Snapshot) -> Plan:
            decodes = snapshot.running & (snapshot.prefill == 0)
            seen.append((len(snapshot), int(snapshot.running.sum()), bool(decodes.any())))
            return super().plan(snapshot)

    planner = Planner(Watching(), History(), NoGuard(), Fcfs(), worker=Beside())
    planner.warm_up(EngineLimits(), LATENCY)
    assert seen == [(16, 0, False), (16, 8, True)]
    assert (len(planner.table), planner.plans, planner.failures) == (0, 0, 0)
    planner.warm_up(EngineLimits(1, 1, 1, 1), LATENCY)
    planner.close()


def test_a_warm_up_that_fails_is_a_failure_and_no_error() -> None:
    planner = make(Faulty("raises"))  # whose oracle knows nothing of made-up requests
    planner.warm_up(EngineLimits(), LATENCY)
    assert planner.failures == 4  # in two rehearsals


def test_what_nobody_takes_does_not_grow() -> None:
    planner = make(Newest(), margin=Fixed())  # type: ignore[arg-type]
    planner.add(request(0))
    for i in range(3000):
        planner.table.version += 1
        step(planner, float(i))
    assert planner.plans == 3000
    assert len(planner.take_solves()) <= 1000
