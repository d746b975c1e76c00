"""The last minute once more: who counts, and what the order is worth where that can be told."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.latency import LinearLatency
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Replica
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.predictors.history import History
from slosched_server.dashboard.hindsight import hindsight, rehearse
from slosched_server.dashboard.recent import Recent
from slosched_server.progress import Outcome, Progress
from slosched_server.upstream import Job
from slosched_solvers.fleet import FleetAnneal
from slosched_solvers.replay_past import replay_past
from tests.dashboard.test_recent import job

NOW = 100.0
SECOND = LinearLatency(1.0, 0.0, 0.0, 0.0)  # a token each second
ONE_SLOT = EngineLimits(1, 256, 16, 1000)


def queue() -> Dispatcher:
    made = Dispatcher(PlannedFleet(FleetAnneal(time_budget_ms=None, move_budget=9)), History())
    made.add_replica(Replica("a", ONE_SLOT, SECOND))
    return made


def ended(
    recent: Recent, arrival: float, sent: float, tokens: int, e2e: float, *,
    outcome: Outcome = "finished",
) -> Job:  # fmt: skip
    """A request that ended now; in which order is what matters, not when."""
    asked = job(arrival, limits=Slo(e2e=e2e), outcome=outcome, replica="a")
    asked.progress.queued, asked.progress.tokens = sent - arrival, tokens
    recent.begin(asked)
    recent.end(asked, NOW)
    return asked


def test_the_order_counts_among_those_who_wait() -> None:
    """One holds the slot while a long and three short ones come: the short ones go first."""
    recent = Recent()
    ended(recent, 70.0, 70.0, tokens=10, e2e=30.0)
    ended(recent, 71.0, 95.0, tokens=9, e2e=29.0)
    for i in range(3):
        ended(recent, 72.0 + i, 85.0 + i, tokens=2, e2e=14.0)
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    # In order of arrival: 80, 89, then the short ones at 91, 93 and 95, due at 86, 87 and 88.
    assert (found.requests, found.as_served, found.fcfs) == (5, 5, 2)
    assert (found.measured, found.pending, found.left_out) == (2, 0, 0)


def test_who_waits_still_counts_and_who_was_refused_does_not() -> None:
    recent = Recent()
    ended(recent, 95.0, 95.0, tokens=1, e2e=9.0)
    ended(recent, 95.0, 95.0, tokens=1, e2e=9.0, outcome="shed")
    recent.begin(job(96.0, limits=Slo(e2e=1e6)))
    late = Job(job().tag, job().size, Progress(60.0), lambda _: b"")
    recent.begin(late)
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    assert (found.requests, found.measured, found.pending, found.left_out) == (3, 1, 1, 1)


def test_before_the_minute_requests_take_up_room_and_count_no_more() -> None:
    recent = Recent()
    ended(recent, 30.0, 30.0, tokens=60, e2e=99.0)
    ended(recent, 50.0, 50.0, tokens=1, e2e=9.0)
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    assert (found.requests, found.as_served, found.fcfs) == (1, 0, 0)


def test_nothing_to_tell() -> None:
    assert hindsight(Recent(), queue(), replay_past, NOW) is None
    recent = Recent()
    ended(recent, 95.0, 95.0, tokens=1, e2e=9.0)
    gone = queue()
    gone.on_replica_change("a", "away")
    assert hindsight(recent, gone, replay_past, NOW) is None
    rehearse(replay_past)


@given(
    st.lists(
        st.tuples(st.floats(45, 99), st.integers(1, 9), st.floats(1, 60)), min_size=1, max_size=20
    )
)
def test_served_in_order_of_arrival_nothing_is_gained(
    requests: list[tuple[float, int, float]],
) -> None:
    recent = Recent()
    for arrival, tokens, e2e in sorted(requests):
        ended(recent, arrival, arrival, tokens, e2e)
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    assert found.as_served == found.fcfs
    assert found.requests == len(requests)
    assert np.isfinite(found.seconds)
