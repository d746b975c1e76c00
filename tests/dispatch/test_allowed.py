"""Requests that only some replicas may get, and requests that another one serves."""

from hypothesis import given
from hypothesis import strategies as st

from slosched.core.request import TracedRequest
from slosched.dispatch import Replica
from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.assignments.planned import PlannedFleet
from tests.dispatch.fleet import Fleet
from tests.dispatch.test_dispatcher import (
    ALL,
    LIMITS,
    PLANNED,
    dispatcher,
    planned,
    request,
)
from tests.strategies import LATENCY, traces

NAMES = frozenset({"replica 0", "replica 1", "replica 2"})


@given(traces(max_size=15), st.sampled_from(ALL), st.data())
def test_law_1_everybody_is_served_once_where_it_may_be(
    trace: list[TracedRequest], assignment: Assignment | PlannedFleet, data: st.DataObject
) -> None:
    some = st.none() | st.frozensets(st.sampled_from(sorted(NAMES)), min_size=1)
    drawn = {t.request.request_id: data.draw(some) for t in trace}
    only = {name: names for name, names in drawn.items() if names is not None}
    fleet = Fleet(dispatcher(assignment, (1.0, 2.0, 0.7)), only=only)
    fleet.run(trace)
    assert sorted(i for i, _ in fleet.sent) == list(range(len(trace)))
    for i, name in fleet.sent:
        assert name in only.get(trace[i].request.request_id, NAMES)


def test_who_may_go_to_one_only_waits_for_that_one_and_is_not_passed_by() -> None:
    queue = dispatcher(slower=(1.0, 1.0))
    for i in range(8):
        queue.submit(request(i))
    queue.release()
    queue.submit(request(8), only={"replica 1"})
    for i in range(9, 30):
        queue.submit(request(i))
    planned(queue)
    waiting = {one.request_id: one for one in queue.snapshot(0.0).waiting}
    assert waiting["r8"].replica == "replica 1"
    ahead = [one for one in waiting.values() if one.replica == "replica 1"]
    assert all(one.first <= waiting["r8"].first for one in ahead if one.place < waiting["r8"].place)


def test_who_may_go_nowhere_waits_until_somebody_comes() -> None:
    queue = dispatcher()
    queue.submit(request(0), only={"new"})
    assert not queue.release()
    planned(queue)
    assert not queue.release()
    queue.add_replica(Replica("new", LIMITS, LATENCY))
    planned(queue)
    assert [binding.replica.name for binding in queue.release()] == ["new"]


def test_a_request_that_another_replica_serves_is_counted_there() -> None:
    for tokens in (0, 3):
        queue = dispatcher(PLANNED, (1.0, 1.0))
        queue.submit(request(0))
        [binding] = queue.release()
        for token in range(1, tokens + 1):
            queue.on_token("r0", token, float(token))
        old = binding.replica
        [new] = [replica for replica in queue.replicas if replica is not old]
        assert queue.moved("r0", new.name)
        assert not queue.moved("r0", new.name)
        assert not old.given
        assert old.free_kv == 6400
        assert (old.decoding, old.context_tokens) == (0, 0)
        assert list(new.given) == ["r0"]
        assert new.decoding == bool(tokens)
        queue.on_complete("r0", 9, 9.0)
        assert not new.given
        assert (new.decoding, new.context_tokens) == (0, 0)


def test_nothing_is_moved_that_is_not_known_or_waits() -> None:
    queue = dispatcher(slower=(1.0,))
    assert not queue.moved("nobody", "replica 0")
    queue.submit(request(0), held=True)
    assert not queue.moved("r0", "replica 0")
    queue.admit("r0")
    queue.release()
    assert not queue.moved("r0", "nobody")
