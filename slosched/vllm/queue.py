"""The waiting queue that follows the plan."""

from bisect import insort_left
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.request import Request

from slosched.vllm.stock import Stock


class PlannedQueue(RequestQueue):
    """Hands out requests by their ranks in the planner's table.

    Ranks are looked at when vLLM asks for somebody, which it does only where a slot is free: all
    of them once for each plan, and then those of who came since. Streaming sessions have no rank
    and go first, requests that could not be entered into the plan have none and go last; both as
    they come.

    What vLLM puts back in front (a preempted request, one that it skipped) stays there until the
    next plan gives it a place.
    """

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._front: deque[Request] = deque()
        self._row_of: dict[Request, int] = {}  # who has a place in the plan, as they came
        self._request_in: dict[int, Request] = {}
        self._next: list[int] = []  # rows by rank; the last goes first
        self._fresh: list[int] = []  # rows that have yet to find their places in it
        self._in_order = True  # whether the others have
        self._back: deque[Request] = deque()

    def follow_plan(self) -> None:
        """Forget the old ranks: there is a new plan."""
        self._in_order = False
        front, self._front = self._front, deque()
        for request in front:
            self.add_request(request)

    def add_request(self, request: Request) -> None:
        """Add a request that came."""
        row = self._stock.row(request)
        if row is None:
            (self._front if request.resumable else self._back).append(request)
        else:
            self._row_of[request] = row
            self._request_in[row] = request
            self._fresh.append(row)

    def peek_request(self) -> Request:
        """Say who goes next; IndexError if nobody waits."""
        if self._front:
            return self._front[0]
        if self._row_of:
            return self._request_in[self._by_rank()[-1]]
        return self._back[0]

    def pop_request(self) -> Request:
        """Take out who goes next; IndexError if nobody waits."""
        if self._front:
            return self._front.popleft()
        if not self._row_of:
            return self._back.popleft()
        request = self._request_in.pop(self._by_rank().pop())
        del self._row_of[request]
        return request

    def prepend_request(self, request: Request) -> None:
        """Put a request in front of all others."""
        self._front.appendleft(request)

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """Put requests in front of all others, the last of them first, as a deque does."""
        self._front.extendleft(requests)

    def remove_request(self, request: Request) -> None:
        """Take out a request; ValueError if it is not there."""
        if request not in self._row_of:
            (self._front if request in self._front else self._back).remove(request)
            return
        del self._request_in[self._row_of.pop(request)]
        self._in_order = False  # the row may soon be another's

    def remove_requests(self, requests: Iterable[Request]) -> None:
        """Take out those of the requests that are there."""
        for request in requests:
            if request in self._row_of or request in self._front or request in self._back:
                self.remove_request(request)

    def __bool__(self) -> bool:
        return bool(self._row_of or self._front or self._back)

    def __len__(self) -> int:
        return len(self._row_of) + len(self._front) + len(self._back)

    def __iter__(self) -> Iterator[Request]:
        yield from self._front
        if self._row_of:
            yield from [self._request_in[row] for row in reversed(self._by_rank())]
        yield from self._back

    def _by_rank(self) -> list[int]:
        if not self._in_order:
            rows = np.fromiter(self._row_of.values(), dtype=np.int64, count=len(self._row_of))
            order = self._stock.ranks(rows).argsort(kind="stable")
            self._next = rows[order[::-1]].tolist()
        else:
            for row in self._fresh:  # before its equals, which go first
                insort_left(self._next, row, key=self._urgency)
        self._fresh, self._in_order = [], True
        return self._next

    def _urgency(self, row: int) -> int:
        return -int(self._stock.ranks(np.array([row]))[0])
