"""The table of live requests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import EngineLimits, Request, Slo
from slosched.core.live import LiveTable
from slosched.core.snapshot import LIVE
from tests.strategies import LATENCY


@given(st.lists(st.one_of(st.just(None), st.integers(0, 40)), max_size=200))
def test_rows_keep_their_requests_through_any_coming_and_going(steps: list[int | None]) -> None:
    """None adds a request; a number removes one of those that live."""
    table, alive, born = LiveTable(), [], 0
    for step in steps:
        if step is None:
            table.add(Request(f"r{born}", float(born), born + 1, Slo(ttft=born + 1.0)))
            alive.append(born)
            born += 1
        elif alive:
            gone = alive.pop(step % len(alive))
            assert table.remove(f"r{gone}").input_tokens == gone + 1
    snapshot, rows = table.snapshot(0.0, EngineLimits(), LATENCY)
    assert list(snapshot.prefill) == [i + 1 for i in alive]  # in order of arrival
    assert list(snapshot.ttft) == [i + 1.0 for i in alive]
    assert [table.request(int(row)).request_id for row in rows] == [f"r{i}" for i in alive]
    assert len(table) == len(alive)


def test_a_request_id_lives_once() -> None:
    table = LiveTable()
    table.add(Request("r", 0, 1, Slo()))
    with pytest.raises(ValueError, match="live already"):
        table.add(Request("r", 0, 1, Slo()))


def test_a_snapshot_does_not_follow_the_table() -> None:
    table = LiveTable()
    row = table.add(Request("r", 0, 9, Slo()))
    snapshot, _ = table.snapshot(0.0, EngineLimits(), LATENCY)
    table.rows["prefill"][row] = 1
    assert snapshot.prefill[0] == 9


@pytest.mark.parametrize("room", [0, 2, 3, 500])
def test_a_snapshot_is_the_same_in_memory_that_was_used_before(room: int) -> None:
    table = LiveTable()
    for i in range(4):
        table.add(Request(f"r{i}", i, 9 + i, Slo()))
    table.remove("r1")
    used = np.full(room, 7, dtype=LIVE)
    snapshot, _ = table.snapshot(0.0, EngineLimits(), LATENCY, used)
    assert snapshot.live.tobytes() == table.rows[table.live()].tobytes()
    assert np.shares_memory(snapshot.live, used) == (room >= 3)


def test_what_cannot_be_entered_takes_no_row() -> None:
    table = LiveTable()
    with pytest.raises(OverflowError):
        table.add(Request("r", 0, 1, Slo(), priority=2**63))
    assert table.add(Request("r", 0, 1, Slo())) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "admit", "preempt", "leave", "count"]), st.integers(0)),
        max_size=80,
    )
)
def test_who_is_admitted_passes_those_that_came_before_and_wait(
    events: list[tuple[str, int]],
) -> None:
    """Law 13 hangs on the count of passes, however seldom it is brought up to date."""
    table, passes, running = LiveTable(), dict[int, int](), set[int]()
    for k, (event, which) in enumerate(events):
        waiting = [i for i in passes if i not in running]
        if event == "come":
            table.add(Request(f"r{k}", float(k), 1, Slo()))
            passes[k] = 0
        elif event == "admit" and waiting:
            chosen = waiting[which % len(waiting)]
            table.admit(table.row(f"r{chosen}"))
            running.add(chosen)
            for i in waiting:
                passes[i] += i < chosen
        elif event == "preempt" and running:
            chosen = sorted(running)[which % len(running)]
            table.preempt(table.row(f"r{chosen}"), 1)
            running.remove(chosen)
        elif event == "leave" and passes:
            chosen = list(passes)[which % len(passes)]
            table.remove(f"r{chosen}")
            running.discard(chosen)
            del passes[chosen]
        elif event == "count":
            table.snapshot(0.0, EngineLimits(), LATENCY)
    snapshot, _ = table.snapshot(0.0, EngineLimits(), LATENCY)
    assert snapshot.live["passes"].tolist() == list(passes.values())
