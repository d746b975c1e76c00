"""The waiting queue hands out by rank, and loses nobody."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.types import IntArray
from slosched.vllm.queue import PlannedQueue


@dataclass(eq=False)
class Waiting:
    name: int
    resumable: bool = False


@dataclass
class Ranked:
    """What a queue asks of its stock: the row of each request by its name, and ranks."""

    places: dict[int, int] = field(default_factory=dict)
    unplanned: set[int] = field(default_factory=set)

    def row(self, request: Waiting) -> int | None:
        return None if request.resumable or request.name in self.unplanned else request.name

    def rank(self, row: int) -> int:
        return self.places.get(row, 10**6)

    def by_rank(self, rows: IntArray) -> IntArray:
        return np.array(sorted(rows.tolist(), key=self.rank), dtype=np.int64)


def queue(stock: Ranked, *requests: Waiting) -> Any:
    made: Any = PlannedQueue(stock)  # type: ignore[arg-type]
    for request in requests:
        made.add_request(request)
    return made


def drained(queue: Any) -> list[int]:
    names = []
    while queue:
        head = queue.peek_request()
        assert queue.pop_request() is head
        names.append(head.name)
    return names


def test_without_a_plan_first_come_is_first_served() -> None:
    assert drained(queue(Ranked(), *map(Waiting, range(5)))) == [0, 1, 2, 3, 4]


def test_ranks_of_the_newest_plan_hold() -> None:
    stock = Ranked({0: 3, 1: 1, 2: 2})
    waiting = queue(stock, *map(Waiting, range(3)))
    assert waiting.peek_request().name == 1
    stock.places = {0: 1, 1: 2, 2: 3}
    waiting.follow_plan()
    assert drained(waiting) == [0, 1, 2]


def test_a_newcomer_takes_its_place_at_once() -> None:
    stock = Ranked({0: 5, 1: 6})
    waiting = queue(stock, Waiting(0), Waiting(1))
    assert waiting.peek_request().name == 0
    stock.places[2] = 1
    waiting.add_request(Waiting(2))
    assert drained(waiting) == [2, 0, 1]


def test_who_is_put_in_front_stays_there_until_the_next_plan() -> None:
    stock = Ranked({0: 0, 1: 1, 2: 2})
    waiting = queue(stock, Waiting(0), Waiting(1))
    waiting.prepend_request(last := Waiting(2))
    assert waiting.peek_request() is last
    waiting.follow_plan()
    assert drained(waiting) == [0, 1, 2]


def test_skipped_requests_come_back_in_their_order() -> None:
    stock = Ranked({0: 2, 1: 1, 2: 0})
    waiting = queue(stock, *map(Waiting, range(3)))
    skipped = [waiting.pop_request(), waiting.pop_request()]
    waiting.prepend_requests(reversed(skipped))  # vLLM collects them by `appendleft`
    assert drained(waiting) == [2, 1, 0]


def test_sessions_go_first_and_the_unplanned_last() -> None:
    stock = Ranked({1: 0}, unplanned={3})
    waiting = queue(stock, Waiting(3), Waiting(1), Waiting(2, resumable=True))
    waiting.follow_plan()
    assert [request.name for request in waiting] == [2, 1, 3]
    assert drained(waiting) == [2, 1, 3]


def test_a_row_that_changed_hands_is_not_mixed_up() -> None:
    stock = Ranked({0: 0, 1: 1})
    gone = Waiting(0)
    waiting = queue(stock, gone, Waiting(1))
    waiting.peek_request()
    waiting.remove_request(gone)
    stock.places[0] = 9
    waiting.add_request(Waiting(0))
    assert drained(waiting) == [1, 0]


def test_empty_queue_and_strangers_are_errors() -> None:
    waiting = queue(Ranked())
    assert not waiting
    for ask in (waiting.peek_request, waiting.pop_request):
        with pytest.raises(IndexError):
            ask()
    with pytest.raises(ValueError, match="not in deque"):
        waiting.remove_request(Waiting(0))
    waiting.remove_requests([Waiting(0)])


actions = st.sampled_from(["add", "pop", "prepend", "remove", "plan"])


@given(script=st.lists(st.tuples(actions, st.integers(0, 99)), max_size=60))
def test_nobody_is_lost_or_served_twice(script: list[tuple[str, int]]) -> None:
    """Law 1, whatever vLLM does with the queue."""
    stock, rng = Ranked(unplanned={4, 5}), np.random.default_rng(0)
    waiting, inside, outside, came = queue(stock), [], [], 0
    for action, number in script:
        if action == "add":
            inside.append(Waiting(came, resumable=number % 10 == 0))
            waiting.add_request(inside[-1])
            came += 1
        elif action == "pop" and inside:
            outside.append(waiting.pop_request())
            inside.remove(outside[-1])
        elif action == "prepend" and outside:
            inside.append(outside.pop())
            waiting.prepend_request(inside[-1])
        elif action == "remove" and inside:
            waiting.remove_requests([inside.pop(number % len(inside)), Waiting(-1)])
        elif action == "plan":
            stock.places = dict(enumerate(rng.permutation(came).tolist()))
            waiting.follow_plan()
        assert len(waiting) == len(inside)
        assert bool(waiting) == bool(inside)
    listed = [request.name for request in waiting]
    assert drained(waiting) == listed
    assert sorted(listed) == sorted(request.name for request in inside)
