"""Reads vLLM's own state into the planner's table: before every step, so fast."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from slosched.core.live import LiveTable
from slosched.core.types import BoolArray, IntArray
from slosched.vllm.observed import StepShape

_FIRST, _LAST = -(2**61) - 1, 2**61 + 1  # before and behind all ranks that planners give
_NONE = np.empty(0, dtype=np.int64)


class Stock:
    """Which row of the table each of vLLM's requests has, and how far it has come.

    What is known of the running requests is kept in arrays in the order of vLLM's own list, and
    looked up anew only where that list has changed. Streaming sessions have no row and go first;
    requests that could not be entered have none and go last.
    """

    def __init__(self, table: LiveTable) -> None:
        self._table = table
        self._row_of: dict[Request, int] = {}
        # By row: tokens to compute before the request speaks (again); of these, in its prompt.
        self._goal = self._prompt = _NONE
        self._running: list[Request] = []
        self._rows = _NONE  # of `_running`, -1 where there is none
        self._known: BoolArray | slice = slice(None)  # who has a row
        self._chunk: BoolArray = _NONE > 0  # who is still being prefilled

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def decoding(self) -> int:
        """How many of the running requests took their whole prompts before this step."""
        return len(self._chunk) - int(np.count_nonzero(self._chunk))

    def row(self, request: Request) -> int | None:
        """Row of a request, None if it has none."""
        return self._row_of.get(request)

    def enter(self, request: Request, row: int) -> None:
        """Take in a new request."""
        missing = len(self._table.rows) - len(self._goal)
        if missing > 0:
            self._goal = np.concatenate((self._goal, np.zeros(missing, dtype=np.int64)))
            self._prompt = np.concatenate((self._prompt, np.zeros(missing, dtype=np.int64)))
        self._row_of[request] = row
        self._goal[row] = self._prompt[row] = request.num_prompt_tokens

    def wait(self, request: Request, cached: int) -> None:
        """Write what a waiting request has to compute, `cached` tokens of which it need not."""
        row, live = self._row_of[request], self._table.rows
        self._goal[row] = request.num_tokens
        live["context"][row] = cached
        live["prefill"][row] = max(request.num_tokens - cached, 1)
        live["produced"][row] = request.num_output_tokens

    def forget(self, request: Request) -> int | None:
        """Forget a request that ended; return the row that it had, if it had one."""
        return self._row_of.pop(request, None)

    def take(self, running: list[Request]) -> None:
        """Write how far the running requests have come."""
        if running != self._running:
            self._follow(running)
        live, rows = self._table.rows, self._rows
        computed = np.fromiter([r.num_computed_tokens for r in running], np.int64, len(running))
        self._chunk = computed < self._goal[rows]
        rows, computed = rows[self._known], computed[self._known]
        # Who has said nothing has a step to come: its first token is in flight at the best.
        silent = np.isnan(live["first_token"][rows])
        prefill = np.maximum(self._goal[rows] - computed, silent)
        # Each token computed since then has brought one, or will when its step is over.
        said = computed + 1 - self._prompt[rows]
        live["prefill"][rows], live["context"][rows] = prefill, computed
        live["produced"][rows] = np.where(prefill > 0, live["produced"][rows], said)

    def sort(self, running: list[Request]) -> None:
        """Bring the running requests, whose stock was just taken, into the plan's order.

        The first get the token budget first: prompts take what decoding leaves, as the rollout
        has it. The last is vLLM's victim when KV blocks run out.
        """
        places = self._places(running, self._rows)
        places[self._chunk] += _LAST - _FIRST + 1
        if (places[1:] < places[:-1]).any():
            order = np.argsort(places, kind="stable")
            running[:] = [running[i] for i in order.tolist()]
            self._follow(running)
            self._chunk = self._chunk[order]

    def places(self, requests: Sequence[Request]) -> IntArray:
        """Place of each request in the plan."""
        return self._places(requests, self._rows_of(requests))

    def admitted(self, running: Sequence[Request]) -> list[tuple[int, Request]]:
        """Say who got a slot in the step that vLLM just scheduled, and its row."""
        runs, admitted = self._table.rows["running"], []
        for request in reversed(running):  # vLLM appends whom it admits
            row = self._row_of.get(request)
            if row is None:
                continue
            if runs[row]:
                break
            admitted.append((row, request))
        return admitted[::-1]

    def shape(self, output: SchedulerOutput, admitted: int) -> StepShape | None:
        """Sum up what a step computes, from the state before it; None if empty or unknown."""
        scheduled = output.num_scheduled_tokens
        if not scheduled or not isinstance(self._known, slice):
            return None
        live, rows = self._table.rows, self._rows
        decoding = live["running"][rows] & (live["prefill"][rows] <= 1)
        if len(scheduled) != len(rows) + admitted:  # somebody was left out
            decoding &= [request.request_id in scheduled for request in self._running]
        sequences = int(np.count_nonzero(decoding))
        drafts = sum(map(len, output.scheduled_spec_decode_tokens.values()))
        prefill_tokens = output.total_num_scheduled_tokens - sequences - drafts
        return StepShape(prefill_tokens, sequences, int(live["context"][rows][decoding].sum()))

    def _follow(self, running: list[Request]) -> None:
        self._running = running.copy()
        self._rows = self._rows_of(running)
        known = self._rows >= 0
        self._known = slice(None) if known.all() else known

    def _rows_of(self, requests: Sequence[Request]) -> IntArray:
        rows = map(self._row_of.get, requests, repeat(-1))
        return np.fromiter(rows, dtype=np.int64, count=len(requests))

    def _places(self, requests: Sequence[Request], rows: IntArray) -> IntArray:
        places: IntArray = np.minimum(self._table.rows["rank"][rows], _LAST - 1)
        for i in np.flatnonzero(rows < 0).tolist():
            places[i] = _FIRST if requests[i].resumable else _LAST
        return places
