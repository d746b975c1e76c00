"""The table of live requests: arrays that an engine keeps up to date, step by step."""

from bisect import bisect_left
from math import nan

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.snapshot import LIVE, UNRANKED, EngineLimits, Snapshot
from slosched.core.types import IntArray, LiveArray

_FIRST_CAPACITY = 64
NOBODY = -1  # serial of a free row; where a row was taken out of a list


class LiveTable:
    """All live requests, a row each; a row keeps its number as long as its request lives.

    Attributes
    ----------
    rows
        Shape (capacity,), dtype `LIVE`. Engines write progress into the rows of their requests;
        `passes` is brought up to date by snapshots.
    version
        Grows whenever a request comes, goes, or changes between waiting and running.
    """

    def __init__(self) -> None:
        from slosched.core.gather import gather  # brings numba

        self._gather = gather
        self.rows: LiveArray = np.zeros(_FIRST_CAPACITY, dtype=LIVE)
        self.version = 0
        self._requests: list[Request | None] = [None] * _FIRST_CAPACITY
        self._row_of: dict[str, int] = {}
        self._in_order = _InOrder()
        self._live: IntArray | None = None  # the rows of that; never changed, but forgotten
        self._admitted: list[int] = []  # serials of who got a slot since passes were counted
        self._free = list(reversed(range(_FIRST_CAPACITY)))
        self._next_serial = 0

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._row_of

    def row(self, request_id: str) -> int:
        """Row of a live request; KeyError if it is not live."""
        return self._row_of[request_id]

    def request(self, row: int) -> Request:
        """Look up the request in a row; KeyError if the row is free."""
        request = self._requests[row]
        if request is None:
            raise KeyError(row)
        return request

    def add(self, request: Request, length: float = 1.0) -> int:
        """Enter a waiting request and return its row; ValueError if its id is live already.

        Parameters
        ----------
        length
            Output tokens that are expected of it until somebody predicts them.
        """
        if request.request_id in self._row_of:
            raise ValueError(f"request_id {request.request_id!r} is live already")
        if not self._free:
            self._grow()
        slo, serial = request.slo, self._next_serial
        row = self._free[-1]
        self.rows[row] = (
            serial, request.arrival, nan, request.input_tokens, 0, 0, length, length, length, nan,
            0, slo.ttft, slo.tpot, slo.e2e, slo.weight, request.priority, False, 0, 0, -1, 0,
            UNRANKED,
        )  # fmt: skip
        self._free.pop()  # nothing fails from here on
        self._next_serial += 1
        self._requests[row] = request
        self._row_of[request.request_id] = row
        self._in_order.append(row, serial)
        self._live = None
        self.version += 1
        return row

    def remove(self, request_id: str) -> Request:
        """Forget a request that ended, and return it; KeyError if it is not live."""
        row = self._row_of.pop(request_id)
        request = self.request(row)
        self._requests[row] = None
        self._in_order.take_out(int(self.rows["serial"][row]))
        self.rows["serial"][row] = NOBODY
        self._free.append(row)
        self._live = None
        self.version += 1
        return request

    def admit(self, row: int) -> None:
        """Note that a request got a slot; whoever came before it and still waits was passed."""
        rows = self.rows
        serial = int(rows["serial"][row])
        rows["passes"][row] += self._yet_to_be_counted(serial)
        self._admitted.append(serial)
        rows["running"][row] = True
        rows["admitted_at"][row] = rows["produced"][row]
        self.version += 1

    def preempt(self, row: int, prefill: int) -> None:
        """Note that a request lost its slot and its KV, and has to compute `prefill` tokens."""
        live = self.rows[row]
        live["passes"] -= self._yet_to_be_counted(live["serial"])  # none of which passed it
        live["running"], live["context"], live["prefill"] = False, 0, prefill
        self.version += 1

    def forget_admissions(self) -> None:
        """Count no passes of these: for who calls this instead of `snapshot`."""
        self._admitted.clear()

    def _yet_to_be_counted(self, serial: int) -> int:
        return sum(serial < other for other in self._admitted)

    def live(self) -> IntArray:
        """Rows of all live requests, in order of arrival; not to be written to."""
        if self._live is None:
            listed = self._in_order.listed()
            self._live = listed[listed != NOBODY]
        return self._live

    def snapshot(
        self,
        now: float,
        limits: EngineLimits,
        latency: LinearLatency,
        into: LiveArray | None = None,
    ) -> tuple[Snapshot, IntArray]:
        """Copy the live rows for a policy; also return which row each one is.

        Parameters
        ----------
        into
            Memory to copy to, if it is enough: it takes longer to come by some than to copy.
        """
        if into is None or len(into) < len(self):
            into = np.empty(len(self.rows), dtype=LIVE)
        rows, admitted = np.empty(len(self), dtype=np.int64), sorted(self._admitted)
        listed = self._in_order.listed()
        self._gather(self.rows, listed, np.array(admitted, dtype=np.int64), into, rows)
        self._admitted.clear()
        return Snapshot(now, into[: len(rows)], limits, latency), rows

    def _grow(self) -> None:
        capacity = len(self.rows)
        self.rows = np.concatenate((self.rows, np.zeros(capacity, dtype=LIVE)))
        self._requests.extend([None] * capacity)
        self._free.extend(reversed(range(capacity, 2 * capacity)))


class _InOrder:
    """Rows in order of arrival, out of which any may be taken."""

    def __init__(self) -> None:
        self._end = 0
        self._rows, self._serials = np.empty((2, _FIRST_CAPACITY), dtype=np.int64)

    def append(self, row: int, serial: int) -> None:
        """Add a row, of a greater serial than all others."""
        if self._end == len(self._rows):
            self._tidy_up()
        self._rows[self._end], self._serials[self._end] = row, serial
        self._end += 1

    def take_out(self, serial: int) -> None:
        """Take out the row of a serial."""
        # numpy's own search lets go of the interpreter's lock, and waits to have it back.
        self._rows[bisect_left(self._serials, serial, 0, self._end)] = NOBODY

    def listed(self) -> IntArray:
        """List the rows, with NOBODY in between; it is to be read before anything changes."""
        return self._rows[: self._end]

    def _tidy_up(self) -> None:
        """Make as much room again as is in use."""
        there = np.flatnonzero(self._rows[: self._end] != NOBODY)
        room = np.empty((2, max(2 * len(there), _FIRST_CAPACITY)), dtype=np.int64)
        room[:, : len(there)] = self._rows[there], self._serials[there]
        self._end = len(there)
        self._rows, self._serials = room
