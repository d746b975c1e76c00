"""The waiting queue that follows the plan."""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count

import numpy as np
from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.request import Request

from slosched.vllm.stock import Stock


class PlannedQueue(RequestQueue):
    """Hands out requests by their ranks in the planner's table.

    All ranks are looked at once for each plan; those of who came since when vLLM asks for somebody,
    which it does only where a slot is free. Streaming sessions have no rank and go first, requests
    that could not be entered into the plan have none and go last; both as they come.

    What vLLM puts back in front (a preempted request, one that it skipped) stays there until the
    next plan gives it a place.
    """

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._front: deque[Request] = deque()
        self._row_of: dict[Request, int] = {}  # who has a place in the plan, as they came
        self._request_in: dict[int, Request] = {}
        self._planned = np.empty(0, dtype=np.int64)  # rows by rank, as of the newest plan
        self._head = 0  # how many of those are out already
        self._since: list[tuple[int, int, int]] = []  # heap of who came since: rank, turn, row
        self._fresh: list[int] = []  # rows that have yet to find their places there
        self._turn = count()
        self._complete = True  # whether nobody left but from the head
        self._back: deque[Request] = deque()

    def follow_plan(self) -> None:
        """Bring all into the order of a new plan."""
        front, self._front = self._front, deque()
        for request in front:
            self.add_request(request)
        self._sort()

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
            return self._request_in[self._first()[0]]
        return self._back[0]

    def pop_request(self) -> Request:
        """Take out who goes next; IndexError if nobody waits."""
        if self._front:
            return self._front.popleft()
        if not self._row_of:
            return self._back.popleft()
        row, is_planned = self._first()
        if is_planned:
            self._head += 1
        else:
            heappop(self._since)
        request = self._request_in.pop(row)
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
        self._complete = False  # the row may soon be another's

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
            self._sort()
            yield from [self._request_in[row] for row in self._planned.tolist()]
        yield from self._back

    def _sort(self) -> None:
        """Bring all who have a rank into order."""
        if self._complete:
            since = [row for *_, row in sorted(self._since)] + self._fresh
            rows = np.append(self._planned[self._head :], np.array(since, dtype=np.int64))
        else:
            rows = np.fromiter(self._row_of.values(), dtype=np.int64, count=len(self._row_of))
        self._planned = self._stock.by_rank(rows)
        self._head, self._since, self._fresh, self._complete = 0, [], [], True

    def _first(self) -> tuple[int, bool]:
        """Return the row of who goes next, and whether it is one of `_planned`."""
        if not self._complete:
            self._sort()
        for row in self._fresh:
            heappush(self._since, (self._stock.rank(row), next(self._turn), row))
        self._fresh.clear()
        if self._head == len(self._planned):
            return self._since[0][2], False
        planned = int(self._planned[self._head])
        if self._since and self._since[0][0] < self._stock.rank(planned):
            return self._since[0][2], False
        return planned, True
