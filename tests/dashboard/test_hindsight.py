"""The last minute once more: who counts, and what the order is worth where that can be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Replica
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.predictors.history import History
from slosched_server.dashboard.hindsight import hindsight, rehearse
from slosched_server.dashboard.recent import Recent
from slosched_server.progress import Outcome
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
    outcome: Outcome = "finished", slower: float = 1.0,
) -> None:  # fmt: skip
    """A request that had the slot from when it was sent; they are to be told in that order."""
    asked = job(arrival, limits=Slo(e2e=e2e), outcome=outcome, replica="a")
    asked.progress.queued, asked.progress.tokens = sent - arrival, tokens
    recent.begin(asked, {})
    recent.end(asked, sent + slower * tokens)


@pytest.mark.parametrize("slower", [0.5, 1.0, 2.0])
def test_the_order_counts_among_those_who_wait(slower: float) -> None:
    """One holds the slot while a long and three short ones come: the short ones went first.

    However fast the engine really is; all times are in steps of it.
    """
    recent = Recent()
    for arrival, sent, tokens, e2e in (
        (-30, -30, 10, 30), (-28, -20, 2, 14), (-27, -18, 2, 14), (-26, -16, 2, 14),
        (-29, -14, 9, 29),
    ):  # fmt: skip
        times = (NOW + slower * arrival, NOW + slower * sent)
        ended(recent, *times, tokens, slower * e2e, slower=slower)
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    # In order of arrival the long one ends at -11, and the short ones follow, for which it is late.
    assert (found.requests, found.as_served, found.fcfs) == (5, 5, 2)
    assert (found.measured, found.pending, found.left_out) == (5, 0, 0)
    assert found.scaled == pytest.approx([slower])


def test_who_waits_still_counts_and_who_was_refused_does_not() -> None:
    recent, waits = Recent(), queue()
    ended(recent, 95.0, 95.0, tokens=1, e2e=9.0)
    ended(recent, 95.0, 95.0, tokens=1, e2e=9.0, outcome="shed")
    for name, arrival in (("early", 60.0), ("new", 96.0), ("unknown", 97.0)):
        asked = job(arrival)
        asked.progress.queued_as = name
        recent.begin(asked, {})
        waits.submit(Request(name, arrival, 20, asked.tag.slo))
        if name == "new":
            waits.take(waits.job(NOW).solve())
    found = hindsight(recent, waits, replay_past, NOW)
    assert found
    answer = found.answer()
    assert (answer.requests, answer.measured, answer.pending, answer.left_out) == (3, 1, 1, 1)


def test_before_the_minute_requests_take_up_room_and_count_no_more() -> None:
    recent = Recent()
    ended(recent, 30.0, 30.0, tokens=60, e2e=99.0)
    ended(recent, 50.0, 90.0, tokens=1, e2e=9.0)
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
        st.tuples(st.integers(45, 99), st.integers(1, 9), st.integers(1, 60)),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([0.5, 1.0, 2.0, 3.0]),
)
def test_served_in_order_of_arrival_nothing_is_gained(
    requests: list[tuple[int, int, int]], slower: float
) -> None:
    """Limits lie between two steps: rounding decides nothing."""
    recent, free = Recent(), 0.0
    for arrival, tokens, e2e in sorted(requests):
        sent = max(arrival, free)
        ended(recent, arrival, sent, tokens, e2e + 0.3, slower=slower)
        free = sent + slower * tokens
    asked = hindsight(recent, queue(), replay_past, NOW)
    assert asked
    found = asked.answer()
    assert found.requests == len(requests)
    assert found.as_served == found.fcfs == found.measured
    assert found.scaled == pytest.approx([slower])
