"""The table of live requests: arrays that an engine keeps up to date, step by step."""

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.snapshot import LIVE, SCENARIOS, UNRANKED, EngineLimits, Snapshot
from slosched.core.types import IntArray, LiveArray

_FIRST_CAPACITY = 64
NOBODY = -1  # serial of a free row
PREDICTED = (*SCENARIOS, "first_guess", "predict_at")


class LiveTable:
    """All live requests, a row each; a row keeps its number as long as its request lives.

    Attributes
    ----------
    rows
        Shape (capacity,), dtype `LIVE`. Engines write progress into the rows of their requests.
    version
        Grows whenever a request comes, goes, or changes between waiting and running.
    """

    def __init__(self) -> None:
        self.rows: LiveArray = np.zeros(_FIRST_CAPACITY, dtype=LIVE)
        self.version = 0
        self._requests: list[Request | None] = [None] * _FIRST_CAPACITY
        self._row_of: dict[str, int] = {}
        self._live: IntArray = np.empty(0, dtype=np.int64)  # never changed, but replaced
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
        slo = request.slo
        fresh = np.zeros((), dtype=LIVE)
        fresh["serial"] = self._next_serial
        fresh["arrival"], fresh["first_token"] = request.arrival, np.nan
        fresh["prefill"] = request.input_tokens
        fresh["ttft"], fresh["tpot"], fresh["e2e"] = slo.ttft, slo.tpot, slo.e2e
        fresh["weight"], fresh["priority"] = slo.weight, request.priority
        fresh["short"] = fresh["length"] = fresh["long"] = length
        fresh["first_guess"], fresh["idle"], fresh["rank"] = np.nan, -1, UNRANKED
        row = self._free.pop()  # nothing fails from here on
        self.rows[row] = fresh
        self._next_serial += 1
        self._requests[row] = request
        self._row_of[request.request_id] = row
        self._live = np.append(self._live, row)
        self._live.flags.writeable = False
        self.version += 1
        return row

    def remove(self, request_id: str) -> Request:
        """Forget a request that ended, and return it; KeyError if it is not live."""
        row = self._row_of.pop(request_id)
        request = self.request(row)
        self._requests[row] = None
        self.rows["serial"][row] = NOBODY
        self._free.append(row)
        self._live = self._live[self._live != row]
        self._live.flags.writeable = False
        self.version += 1
        return request

    def admit(self, row: int) -> None:
        """Note that a request got a slot; whoever came before it and still waits was passed."""
        rows = self.rows
        waiting = self.live()
        waiting = waiting[~rows["running"][waiting]]
        passed = waiting[rows["serial"][waiting] < rows["serial"][row]]
        rows["passes"][passed] += 1
        rows["running"][row] = True
        rows["admitted_at"][row] = rows["produced"][row]
        self.version += 1

    def preempt(self, row: int, prefill: int) -> None:
        """Note that a request lost its slot and its KV, and has to compute `prefill` tokens."""
        live = self.rows[row]
        live["running"], live["context"], live["prefill"] = False, 0, prefill
        self.version += 1

    def live(self) -> IntArray:
        """Rows of all live requests, in order of arrival; not to be written to."""
        return self._live

    def has_due(self) -> bool:
        """Whether the length of any request is to be predicted, for the first time or again."""
        rows = self.rows[["produced", "predict_at"]][self.live()]
        return bool((rows["produced"] >= rows["predict_at"]).any())

    def set_lengths(self, rows: IntArray, predicted: LiveArray) -> None:
        """Write down predicted lengths: the columns `PREDICTED`, for each of the rows."""
        for name in PREDICTED:
            self.rows[name][rows] = predicted[name]

    def snapshot(
        self, now: float, limits: EngineLimits, latency: LinearLatency
    ) -> tuple[Snapshot, IntArray]:
        """Copy the live rows for a policy; also return which row each one is."""
        rows = self.live()
        return Snapshot(now, self.rows[rows], limits, latency), rows

    def _grow(self) -> None:
        capacity = len(self.rows)
        self.rows = np.concatenate((self.rows, np.zeros(capacity, dtype=LIVE)))
        self._requests.extend([None] * capacity)
        self._free.extend(reversed(range(capacity, 2 * capacity)))
