"""The table of live requests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import EngineLimits, Request, Slo
from slosched.core.live import LiveTable
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


def test_who_is_admitted_passes_those_that_came_before() -> None:
    table = LiveTable()
    first, second, third = (table.add(Request(f"r{i}", i, 1, Slo())) for i in range(3))
    table.admit(second)
    table.admit(third)
    np.testing.assert_array_equal(table.rows["passes"][[first, second, third]], [2, 0, 0])
