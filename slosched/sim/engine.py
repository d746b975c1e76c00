"""The simulated engine: a scheduling loop like vLLM's, step by step, in virtual time."""

from collections.abc import Callable, Sequence

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.request import TracedRequest
from slosched.core.snapshot import EngineLimits
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Decision, Planner
from slosched.sim.kv import KvCache
from slosched.sim.records import Records, Spread
from slosched.sim.truth import StepTimes

Progress = Callable[[int], None]


class SimulatedEngine:
    """Continuous batching with chunked prefill, KV blocks, and preemption by recompute.

    Each step serves the running requests first, in the plan's order, then admits waiting ones
    from the head of the plan until slots, token budget or KV end; the first that does not fit
    ends admission, and nobody is admitted in a step that preempted for KV. A waiting request is
    admitted when its whole prompt fits. When decoding needs more blocks than are free, the last
    running request is preempted and later computes its whole context again.

    Parameters
    ----------
    planner
        Fresh: it learns and remembers.
    limits, latency
        What the engine holds, and how long its steps take, as the planner is told.
    truth
        How long they really take; as told by default.
    """

    def __init__(
        self,
        planner: Planner,
        limits: EngineLimits,
        latency: LinearLatency,
        truth: StepTimes | None = None,
    ) -> None:
        self.now = 0.0
        self.kv = KvCache(limits.num_kv_blocks, limits.block_size)
        self.steps = 0
        self.preemptions = 0
        self._planner = planner
        self._table = planner.table
        self._limits = limits
        self._latency = latency
        self._truth = truth or latency
        self._plan_ages = Spread()
        self._running: IntArray = np.empty(0, dtype=np.int64)
        self._index: dict[int, int] = {}  # table row -> place in the trace

    def run(self, trace: Sequence[TracedRequest], progress: Progress | None = None) -> Records:
        """Serve a trace, in order of arrival, to its end.

        Parameters
        ----------
        trace
            Sorted by arrival; ids unique.
        progress
            Called with the number of requests that ended, now and then.

        Raises
        ------
        ValueError
            If the trace is not sorted by arrival.
        """
        arrivals = np.array([traced.request.arrival for traced in trace])
        if np.any(np.diff(arrivals) < 0):
            raise ValueError("trace must be sorted by arrival")
        self.now = float(arrivals[0]) if len(trace) else 0.0
        started = self.now
        self._first_token = np.full(len(trace), np.nan)
        self._finish = np.full(len(trace), np.nan)
        self._last_token = np.full(len(trace), np.nan)
        self._lengths = np.array([t.output_tokens for t in trace], dtype=np.int64)
        gaps: list[FloatArray] = []
        arrived = 0
        while arrived < len(trace) or len(self._table):
            if not len(self._table):
                self.now = max(self.now, float(arrivals[arrived]))
            while arrived < len(trace) and arrivals[arrived] <= self.now:
                self._arrive(trace[arrived], arrived)
                arrived += 1
            if not len(self._table):
                continue
            gaps.append(self._step())
            if progress and self.steps % 1000 == 0:
                progress(arrived - len(self._table))
        if progress:
            progress(len(trace))
        itl = np.concatenate(gaps) if gaps else np.empty(0)
        duration = self.now - started
        planner = self._planner
        planner.close()
        return Records(
            trace, self._first_token, self._finish, itl, duration, self.steps, self.preemptions,
            planner.failures, planner.plans, self._plan_ages, planner.margin.factor,
        )  # fmt: skip

    def _arrive(self, traced: TracedRequest, index: int) -> None:
        tokens = traced.request.input_tokens + traced.output_tokens
        if not self.kv.fits_alone(tokens):
            return  # no cache of this size can ever hold it: it fails at the door
        self._index[self._planner.add(traced.request)] = index

    def _step(self) -> FloatArray:
        """Plan, schedule and execute one step; return the gaps between tokens that it ends."""
        decision = self._planner.plan(self.now, self._limits, self._latency)
        self._plan_ages.add(self._planner.plan_age(self.now))
        for row in decision.preempt:
            self._preempt(int(row))
        rows = self._table.rows
        self._running = self._running[np.argsort(rows["rank"][self._running], kind="stable")]
        decoding, chunked, chunks = self._schedule(decision)
        self._planner.hand_over()
        context = int(rows["context"][decoding].sum())
        self.now += self._truth.step(chunked, len(decoding), context)
        self.steps += 1
        return self._advance(decoding, chunks)

    def _schedule(self, decision: Decision) -> tuple[IntArray, int, list[tuple[int, int]]]:
        """Choose who decodes, and who prefills how many tokens."""
        rows = self._table.rows
        decoding, preempted = self._make_room()
        budget = decision.max_num_batched_tokens - len(decoding)
        chunks: list[tuple[int, int]] = []
        for row in self._running[rows["prefill"][self._running] > 0]:
            if budget > 0:
                chunks.append((int(row), min(int(rows["prefill"][row]), budget)))
                budget -= chunks[-1][1]
        if budget > 0 and not preempted and len(self._running) < decision.max_num_seqs:
            self._admit(chunks, budget, decision.max_num_seqs)
        return decoding, sum(chunk for _, chunk in chunks), chunks

    def _make_room(self) -> tuple[IntArray, bool]:
        """Find KV for one token of each decoding request, at the cost of the last ones."""
        rows = self._table.rows
        preempted = False
        while True:
            decoding = self._running[rows["prefill"][self._running] == 0]
            missing = self.kv.missing(decoding, rows["context"][decoding] + 1)
            if missing.sum() <= self.kv.free:
                self.kv.take(decoding, missing)
                return decoding, preempted
            self._preempt(int(self._running[-1]))
            preempted = True

    def _admit(self, chunks: list[tuple[int, int]], budget: int, slots: int) -> None:
        table = self._table
        live = table.live()
        waiting = live[~table.rows["running"][live]]
        waiting = waiting[np.argsort(table.rows["rank"][waiting], kind="stable")]
        for row in waiting:
            prompt = int(table.rows["prefill"][row])
            full = len(self._running) >= slots
            if full or budget <= 0 or not self.kv.fits(prompt):
                return
            one = np.array([row])
            self.kv.take(one, self.kv.missing(one, np.array([prompt])))
            self._running = np.append(self._running, row)
            table.admit(int(row))
            chunks.append((int(row), min(prompt, budget)))
            budget -= chunks[-1][1]

    def _preempt(self, row: int) -> None:
        live = self._table.rows[row]
        request = self._table.request(row)
        self._running = self._running[self._running != row]
        self.kv.release(row)
        self._table.preempt(row, request.input_tokens + int(live["produced"]))
        self.preemptions += 1

    def _advance(self, decoding: IntArray, chunks: list[tuple[int, int]]) -> FloatArray:
        """Write the step's tokens down, and let go whoever has its last one."""
        rows = self._table.rows
        rows["context"][decoding] += 1
        prefilled = []
        for row, chunk in chunks:
            rows["prefill"][row] -= chunk
            rows["context"][row] += chunk
            if rows["prefill"][row] == 0:
                prefilled.append(row)
        spoke = np.concatenate((decoding, np.array(prefilled, dtype=np.int64)))
        rows["produced"][spoke] += 1
        index = np.array([self._index[int(row)] for row in spoke], dtype=np.int64)
        fresh = np.isnan(rows["first_token"][spoke])
        rows["first_token"][spoke[fresh]] = self.now
        self._first_token[index[fresh]] = self.now
        gaps: FloatArray = self.now - self._last_token[index[~fresh]]
        self._last_token[index] = self.now
        for row in spoke[rows["produced"][spoke] >= self._lengths[index]]:
            self._end(int(row))
        return gaps

    def _end(self, row: int) -> None:
        index = self._index.pop(row)
        self._finish[index] = self.now
        self._running = self._running[self._running != row]
        self.kv.release(row)
        request = self._table.request(row)
        self._planner.finish(request.request_id, int(self._lengths[index]), self.now)
