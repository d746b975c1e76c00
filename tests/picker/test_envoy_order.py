"""The plan's order, through a real Envoy, across replicas."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.picker.deadlines import EarliestDeadline
from tests.picker.order import Event, Order, order
from tests.picker.replicas import SLOTS


@pytest.mark.parametrize("shows_answers", [False, True])
def test_requests_reach_each_replica_in_the_order_of_the_plan(
    tmp_path: Path, shows_answers: bool
) -> None:
    """One class for each deadline: none comes before an earlier one but those in flight together.

    Envoy writes what it is told at one moment to its connections in an order of its own.
    """
    found = asyncio.run(
        order(tmp_path, 200, shows_answers=shows_answers, solver=EarliestDeadline())
    )
    assert sum(len(each) for each in found.arrived) == 200 + 4 * SLOTS
    assert found.sent == found.bound
    assert found.furthest < SLOTS
    assert found.inversions[1] == 0
    deadlines = [[found.deadlines[each] or 0 for each in bound[SLOTS:]] for bound in found.bound]
    assert deadlines == [sorted(each) for each in deadlines]


@pytest.mark.parametrize("shows_answers", [False, True])
def test_so_they_do_while_plans_are_made_and_made_again(
    tmp_path: Path, shows_answers: bool
) -> None:
    found = asyncio.run(order(tmp_path, 300, shows_answers=shows_answers, at_once=60))
    assert sum(len(each) for each in found.arrived) == 300
    assert found.sent == found.bound
    assert found.furthest < SLOTS


def test_inversions_are_counted() -> None:
    events: list[Event] = [("sent", 3), ("arrived", 3), *(("sent", each) for each in range(3))]
    events += [("arrived", each) for each in range(3)]
    found = Order([[0, 1, 2, 3]], [[3, 0, 1, 2]], [[3, 0, 1, 2]], events, [None, 0, 0, 1])
    assert (found.displaced, found.furthest, found.inversions) == (4, 3, (2, 2))
    together: list[Event] = [("sent", each) for each in range(4)] + [("arrived", 3)] + events[-3:]
    assert replace(found, events=together).inversions == (2, 0)
