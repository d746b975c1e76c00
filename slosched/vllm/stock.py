"""Keeps the planner's table up to what vLLM does with its requests."""

from collections.abc import Collection, Mapping, Sequence
from itertools import repeat

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request, RequestStatus

from slosched.core.live import LiveTable
from slosched.core.types import IntArray
from slosched.planner.observed import StepShape

_NOBODY = np.empty(0, dtype=np.int64)


class Stock:
    """Which row of the table each of vLLM's requests has, and how far it has come.

    Progress is written when vLLM has just scheduled a step, from what the step computes. Asking
    hundreds of requests one by one would take longer than all else: those who decode go on by a
    token each, and only the few that are being prefilled are looked at, unless numbers do not
    add up. Requests without a row, such as streaming sessions, are left out.

    Attributes
    ----------
    torn
        Whether an error left a step half written.
    """

    def __init__(self, table: LiveTable) -> None:
        from slosched.vllm import kernels  # brings numba

        self._kernels = kernels
        self._table = table
        self._row_of: dict[str, int] = {}
        # By row: tokens to compute until the request speaks (again), tokens of its prompt, and
        # tokens that this step computes, which are 1 but for a moment.
        self._goal, self._prompt, self._tokens = _by_row(len(table.rows))
        self._rows = _NOBODY  # of the running requests, in vLLM's order; -1 where there is none
        self._prefilling: dict[str, Request] = {}
        self._unsettled: dict[str, Request] = {}  # whose rows an output will change
        self._sorted_by = -1  # version of the ranks
        self._mixed = False  # whether somebody got a slot, or took in a prompt, since
        self.torn = False
        self._compile()

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def decoding(self) -> int:
        """How many running requests have all of their prompts computed."""
        return len(self._rows) - len(self._prefilling)

    def row(self, request: Request) -> int | None:
        """Row of a request, None if it has none."""
        return self._row_of.get(request.request_id)

    def by_rank(self, rows: IntArray) -> IntArray:
        """Sort rows by place in the plan, the least goes first."""
        ordered: IntArray = self._kernels.by_rank(self._table.rows, rows)
        return ordered

    def rank(self, row: int) -> int:
        """Place in the plan of one."""
        return int(self._table.rows["rank"][row])

    # -- requests come, wait and go ------------------------------------------------------------

    def enter(self, request: Request, row: int) -> None:
        """Take in a new request, which the table has in `row`."""
        known = len(self._goal)
        if len(self._table.rows) > known:
            grown = _by_row(len(self._table.rows))
            grown[:2, :known] = self._goal, self._prompt
            self._goal, self._prompt, self._tokens = grown
        self._row_of[request.request_id] = row
        self._goal[row] = self._prompt[row] = request.num_prompt_tokens

    def wait(self, request: Request, cached: int) -> None:
        """Write what a waiting request has to compute, `cached` tokens of which it need not."""
        row = self._row_of[request.request_id]
        live = self._table.rows[row]
        self._goal[row] = request.num_tokens
        live["context"], live["prefill"] = cached, max(request.num_tokens - cached, 1)
        live["produced"] = request.num_output_tokens

    def preempt(self, request: Request, cached: int) -> None:
        """Note that a request lost its slot and waits again."""
        row = self._row_of[request.request_id]
        self._table.preempt(row, request.num_tokens)
        self.wait(request, cached)
        self._stop(request, row)
        self._unsettled[request.request_id] = request

    def forget(self, request: Request) -> int | None:
        """Forget a request that ended; return the row that it had, if it had one."""
        row = self._row_of.pop(request.request_id, None)
        if row is not None:
            self._stop(request, row)
            self._unsettled.pop(request.request_id, None)
        return row

    def _stop(self, request: Request, row: int) -> None:
        self._rows = self._rows[self._rows != row]
        self._prefilling.pop(request.request_id, None)

    # -- one step ------------------------------------------------------------------------------

    def sort(self, running: list[Request], version: int) -> None:
        """Bring the running requests into the plan's order.

        The first get the token budget first: prompts take what decoding leaves, as the rollout
        has it. The last is vLLM's victim when KV blocks run out.

        Parameters
        ----------
        version
            Of the ranks.
        """
        if len(self._rows) != len(running):
            self._rows = self._rows_of([request.request_id for request in running])
        elif version == self._sorted_by and not self._mixed:
            return
        self._sorted_by, self._mixed = version, False
        places, ordered = self._kernels.places(self._table.rows, self._rows, self._goal)
        if not ordered:
            order = places.argsort(kind="stable")
            running[:] = [running[i] for i in order.tolist()]
            self._rows = self._rows[order]

    def advance(self, output: SchedulerOutput, running: list[Request]) -> StepShape | None:
        """Write what the step that vLLM just scheduled does to its requests, and sum it up.

        Returns
        -------
        The step's shape; None if it is empty, or serves requests without a row.
        """
        scheduled = output.num_scheduled_tokens
        if not scheduled:
            return None
        self.torn = True
        fresh = len(output.scheduled_new_reqs) + len(output.scheduled_cached_reqs.resumed_req_ids)
        admitted = running[len(running) - fresh :]
        rows = self._start(admitted, scheduled) if admitted else _NOBODY
        if self._adds_up(output, fresh, len(running)):
            served = self._rows = np.concatenate((self._rows, rows)) if fresh else self._rows
        else:
            served = self._look_at_all(scheduled)
            self._rows = self._rows_of([request.request_id for request in running])
        by_row = self._tokens, self._goal, self._prompt
        *shape, strangers = self._kernels.advance(self._table.rows, served, *by_row)
        for row in rows.tolist():
            if row >= 0:
                self._table.admit(row)
        self._mixed |= bool(self._prefilling)
        for request in list(self._prefilling.values()):
            if not request.is_prefill_chunk:
                del self._prefilling[request.request_id]
        self.torn = False
        return None if strangers else StepShape(*shape)

    def _start(self, admitted: Sequence[Request], scheduled: Mapping[str, int]) -> IntArray:
        """Begin to follow those who got a slot, with what they found in the prefix cache."""
        rows = self._rows_of([request.request_id for request in admitted])
        for row, request in zip(rows.tolist(), admitted, strict=True):
            if row >= 0:
                found = request.num_computed_tokens - scheduled[request.request_id]
                self._table.rows["context"][row] = found
                self._prefilling[request.request_id] = request
                self._unsettled[request.request_id] = request
        return rows

    def _adds_up(self, output: SchedulerOutput, admitted: int, running: int) -> bool:
        """Say whether all who do not prefill decode one token each; note what the others do."""
        scheduled = output.num_scheduled_tokens
        idle, total = 0, running - len(self._prefilling)
        for request_id in self._prefilling:
            tokens = scheduled.get(request_id, 0)
            self._tokens[self._row_of[request_id]] = tokens
            idle += not tokens
            total += tokens
        return (
            len(self._rows) + admitted == running
            and len(scheduled) == running - idle
            and output.total_num_scheduled_tokens == total
        )

    def _look_at_all(self, scheduled: Mapping[str, int]) -> IntArray:
        rows = self._rows_of(scheduled)
        tokens = np.fromiter(scheduled.values(), dtype=np.int64, count=len(rows))
        self._tokens[:] = 1
        self._tokens[rows[rows >= 0]] = tokens[rows >= 0]
        return rows

    def settle(self, now: float) -> None:
        """Follow those whose first token, or last one before a preemption, was in flight."""
        live = self._table.rows
        for request in list(self._unsettled.values()):
            row, said = self._row_of[request.request_id], request.num_output_tokens > 0
            if said and np.isnan(live["first_token"][row]):
                live["first_token"][row] = now
            if request.status == RequestStatus.PREEMPTED:
                self.wait(request, int(live["context"][row]))
                settled = not request.num_stale_output_tokens
            else:
                self._place(request)
                settled = said
            if settled:
                del self._unsettled[request.request_id]

    def correct(self, running: Sequence[Request]) -> None:
        """Ask the running requests how far they have come, one by one."""
        for request in running:
            if request.request_id in self._row_of:
                self._place(request)
                self._table.rows["running"][self._row_of[request.request_id]] = True
        self._rows = self._rows_of([request.request_id for request in running])
        self._tokens[:] = 1
        self.torn = False

    def _place(self, request: Request) -> None:
        row, computed = self._row_of[request.request_id], request.num_computed_tokens
        self._kernels.place(self._table.rows, row, computed, self._goal, self._prompt)

    def _rows_of(self, request_ids: Collection[str]) -> IntArray:
        rows = map(self._row_of.get, request_ids, repeat(-1))
        return np.fromiter(rows, dtype=np.int64, count=len(request_ids))

    def _compile(self) -> None:
        """Call each kernel once, with nobody in it."""
        live, nobody = self._table.rows, _NOBODY
        self._kernels.places(live, nobody, self._goal)
        self._kernels.by_rank(live, nobody)
        self._kernels.advance(live, nobody, self._tokens, self._goal, self._prompt)
        self._kernels.place(live.copy(), 0, 0, self._goal, self._prompt)


def _by_row(rows: int) -> IntArray:
    """Make room for goals, prompts and tokens of so many rows."""
    made = np.zeros((3, rows), dtype=np.int64)
    made[2] = 1
    return made
