"""The simulated engine: vLLM's scheduling loop, step by step, in virtual time."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from slosched.core.detailed_latency import DetailedLatency
from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.plan import nobody
from slosched.core.request import TracedRequest
from slosched.core.snapshot import EngineLimits
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Decision, Planner
from slosched.planner.observed import ObservedLatency
from slosched.sim.arrange import enter, follow
from slosched.sim.drive import Costs, cruise, land, launch
from slosched.sim.histogram import Histogram
from slosched.sim.options import EngineOptions
from slosched.sim.outputs import let_go, settle
from slosched.sim.progress import wait
from slosched.sim.records import Records, Spread
from slosched.sim.schedule import schedule
from slosched.sim.state import GONE, NO_LIMIT, new_state, rules, with_room
from slosched.sim.truth import ExactSteps, StepTimes

Progress = Callable[[int], None]

_DRAWN = 4096  # factors of steps at a time
_PAGE_NAMES = 2**37


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that the engine is done with.

    Parameters
    ----------
    index
        Its place in the trace.
    traced
        The request.
    first_token, finish
        s; NaN for a request that the engine could not serve.
    output_tokens
        Length of its answer.
    """

    index: int
    traced: TracedRequest
    first_token: float
    finish: float
    output_tokens: int


class SimulatedEngine:
    """Continuous batching as in vLLM 0.32, batch for batch.

    Chunked prefill, KV blocks with a prefix cache, preemption by recompute, asynchronous
    scheduling; under our scheduler class, in the order of plans, or under vLLM's own. Kernels do
    all steps in which nobody comes, goes, or changes places; between those the planner is asked,
    exactly where it would decide anything.

    Parameters
    ----------
    planner
        Fresh: it learns and remembers. None where vLLM schedules by itself.
    limits, latency
        What the engine holds, and how long its steps take, as the planner is told.
    truth
        How long they really take; as told by default.
    options
        How it schedules.

    Raises
    ------
    ValueError
        If there is a planner and the options' scheduler asks for none, or the other way round.
    """

    def __init__(
        self,
        planner: Planner | None,
        limits: EngineLimits,
        latency: LinearLatency,
        truth: StepTimes | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        options = options or EngineOptions()
        if (planner is None) == (options.scheduler == "slosched"):
            raise ValueError(f"scheduler {options.scheduler!r} needs {_needs(planner)} planner")
        self._planner = planner
        self._table = planner.table if planner else LiveTable()
        self._limits, self._latency, self._options = limits, latency, options
        self._truth = truth or ExactSteps(latency)
        of = DetailedLatency.of(self._truth.latency)
        self._costs = Costs(
            of.base, of.per_prefill_token, of.prompt_step, of.per_context_token,
            of.by_sequences(limits.max_num_seqs),
        )  # fmt: skip
        self._factors: FloatArray = np.ones(_DRAWN)
        self._drawn_at, self._slower = -1, 1.0
        self._rule = rules(limits, options)
        self._state = new_state(limits, self._rule, len(self._table.rows))
        self._observed: ObservedLatency | None = None
        if planner and options.learns_latency and self._truth != ExactSteps(latency):
            # What the planner is told is learned from the steps, as inside of vLLM.
            self._observed = ObservedLatency(latency)
            self._state = self._state._replace(kept=self._observed.kept, seen=self._observed.seen)
        self._counters = self._state.counters[0]
        self._gaps = Histogram()
        self._live: dict[int, tuple[int, TracedRequest]] = {}  # by row: place in the trace, request
        self._decision = Decision(nobody(), limits.max_num_seqs, limits.max_num_batched_tokens)
        self._followed = -1  # version of the plan that the queues follow
        self._planned_at, self._quiet_until = 0.0, inf  # s
        self._predicts = planner is not None and planner.plans_in_step

    @property
    def now(self) -> float:
        """The clock, s."""
        return float(self._counters["now"])

    @property
    def steps(self) -> int:
        """Steps that computed anything."""
        return int(self._counters["steps"])

    @property
    def preemptions(self) -> int:
        """How often somebody lost its slot."""
        return int(self._counters["preemptions"])

    @property
    def next_output(self) -> float:
        """When the oldest batch on the device is done, s; inf if there is none."""
        if not self._counters["in_flight"]:
            return inf
        return float(self._state.batch_end[self._counters["oldest"]])

    @property
    def may_step(self) -> bool:
        """Whether there are requests, and room on the device for one more batch."""
        return bool(self._live) and self._counters["in_flight"] < self._rule.depth

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return int(self._counters["running"])

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return int(self._counters["waiting"] + self._counters["fresh"])

    @property
    def free_blocks(self) -> int:
        """KV blocks that nobody holds; vLLM keeps one of all for itself."""
        return int(self._counters["free"])

    def idle_until(self, now: float) -> None:
        """Set the clock forward, of an engine that has nothing to do."""
        self._counters["now"] = max(self._counters["now"], now)

    def go_slower(self, factor: float) -> None:
        """Let steps from now on take `factor` times as long as they are said to take."""
        self._factors[:] = self._truth.factors(_DRAWN) * factor
        self._drawn_at, self._slower = self.steps, factor

    def said(self) -> Iterator[tuple[int, int]]:
        """Return of each live request its place in the trace, and its output tokens so far."""
        seqs = self._state.seqs
        for row, (index, _) in self._live.items():
            yield index, int(seqs["tokens"][row] - seqs["prompt"][row])

    def take_solves(self) -> list[float]:
        """Return the real seconds of each solve that ended since this was last asked."""
        return self._planner.take_solves() if self._planner else []

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
        first_token, finish = np.full(len(trace), nan), np.full(len(trace), nan)
        lengths = np.array([traced.output_tokens for traced in trace], dtype=np.int64)
        for count, ended in enumerate(self.serve(trace), 1):
            first_token[ended.index], finish[ended.index] = ended.first_token, ended.finish
            lengths[ended.index] = ended.output_tokens
            if progress and (count % 64 == 0 or count == len(trace)):
                progress(count)
        return self._records(trace, first_token, finish, lengths)

    def serve(self, trace: Iterable[TracedRequest]) -> Iterator[Ended]:
        """Serve requests in order of arrival, and say of each how it went once it ends.

        Memory does not grow with the trace.

        Raises
        ------
        ValueError
            If a request arrives before the one before it.
        """
        arrivals = _Arrivals(trace, self._options.overhead)
        self._counters["now"] = min(arrivals.next_at, sys.float_info.max)
        try:
            while True:
                for index, traced in arrivals.until(self.now):
                    if not self.take_in(index, traced):
                        yield Ended(index, traced, nan, nan, traced.output_tokens)
                if self._live:
                    self.step()
                elif not self._counters["in_flight"]:
                    if arrivals.next_at == inf:
                        return
                    self._counters["now"] = arrivals.next_at
                yield from self.outputs(arrivals.next_at)
        finally:
            self.close()

    def close(self) -> None:
        """Stop planning."""
        if self._planner:
            self._planner.close()

    # -- requests come and go ------------------------------------------------------------------

    def take_in(self, index: int, traced: TracedRequest) -> bool:
        """Let a request wait; False if the engine can never serve it.

        Parameters
        ----------
        index
            What `Ended` is to call it; unique.
        """
        request, options = traced.request, self._options
        cap = NO_LIMIT if request.max_tokens is None else request.max_tokens
        if options.max_model_len is not None:
            cap = min(cap, options.max_model_len - request.input_tokens)
        length = min(traced.output_tokens, cap)
        blocks = -(-(request.input_tokens + length) // self._limits.block_size)
        if length < 1 or blocks > self._limits.num_kv_blocks - 1:
            return False
        row = self._planner.add(request) if self._planner else self._table.add(request)
        rows, pages = len(self._table.rows), traced.hash_ids
        self._state = with_room(self._state, rows, len(pages), blocks + 1)
        self._state.pages[row, : len(pages)] = [page % _PAGE_NAMES for page in pages]
        self._state.seqs[row] = (
            index, request.arrival, request.priority, request.input_tokens, length, cap,
            len(pages), GONE, request.input_tokens, 0, 0, 0, 0, 0, False, False, 0, 0, 0, 0,
            nan, nan,
        )  # fmt: skip
        self._live[row] = index, traced
        enter(self._rule, self._state, self._table.rows, row)
        return True

    def abort(self, request_id: str) -> None:
        """Forget a live request that nobody waits for any more; KeyError if it is not live."""
        row = self._table.row(request_id)
        let_go(self._state, row)
        settle(self._state, self._table.rows, self.now)
        del self._live[row]
        if self._planner:
            self._planner.remove(request_id)
        else:
            self._table.remove(request_id)

    def _end(self) -> Iterator[Ended]:
        """Let go whoever said its last token."""
        for row in self._state.ended[: self._counters["ended"]].tolist():
            index, traced = self._live.pop(row)
            seq = self._state.seqs[row]
            length = int(seq["length"])
            if self._planner:
                self._planner.finish(traced.request.request_id, length, self.now)
            else:
                self._table.remove(traced.request.request_id)
            yield Ended(index, traced, float(seq["first_token"]), self.now, length)
        self._counters["ended"] = 0

    # -- one step ------------------------------------------------------------------------------

    def step(self) -> None:
        """Plan, schedule, and hand the batch to the device; there must be live requests."""
        state, live, most = self._state, self._table.rows, self._limits.max_num_batched_tokens
        budget = most
        if self._planner:
            decision = self._planner.plan(self.now, self._limits, self._latency)
            is_new = self._planner.version != self._followed
            self._decision, self._followed = decision, self._planner.version
            self._planned_at = self.now - self._planner.plan_age(self.now)
            budget = follow(
                self._rule, state, live, decision.preempt, is_new,
                decision.max_num_batched_tokens, most,
            )  # fmt: skip
            self._note_preempted()
        tokens = schedule(self._rule, state, live, self._decision.max_num_seqs, budget)
        self._launch(tokens)
        self._note_batch()

    def _launch(self, tokens: int) -> None:
        if self._counters["steps"] % _DRAWN == 0 and self._drawn_at != self.steps:
            self._factors[:] = self._truth.factors(_DRAWN) * self._slower
            self._drawn_at = self.steps
        launch(self._rule, self._state, tokens, self._costs, self._factors, self._planned_at)

    def outputs(self, next_arrival: float) -> Iterator[Ended]:
        """Wait for outputs, once there are as many batches in flight as there may be.

        And go on by itself, as long as nobody has to look.

        Parameters
        ----------
        next_arrival
            When somebody comes, s; -inf to wait for one output.
        """
        rule, decision = self._rule, self._decision
        if not self._live and self._counters["in_flight"]:
            land(rule, self._state, self._gaps.counts)
        while self._live and self._counters["in_flight"] == rule.depth:
            made_a_batch = cruise(
                rule, self._state, self._table.rows, self._costs, self._factors,
                self._gaps.counts, decision.max_num_seqs, decision.max_num_batched_tokens,
                self._limits.max_num_batched_tokens, self._planned_at,
                min(next_arrival, self._quiet_until), self._predicts,
            )  # fmt: skip
            if made_a_batch:
                self._note_batch()
                continue
            yield from self._end()
            settle(self._state, self._table.rows, self.now)
            return

    def _note_batch(self) -> None:
        """Tell the planner who got and who lost a slot, and let it begin the next plan."""
        self._note_preempted()
        if not self._planner:
            return
        for row in self._state.admitted[: self._counters["admitted"]].tolist():
            self._table.admit(row)
        self._planner.hand_over(self.now)
        self._quiet_until = self._planner.quiet_until
        if self._observed and self._observed.refit():
            self._latency, self._quiet_until = self._observed.model, -inf

    def _note_preempted(self) -> None:
        for row in self._state.preempted[: self._counters["preempted"]].tolist():
            seq = self._state.seqs[row]
            self._table.preempt(row, int(seq["tokens"]))
            wait(self._state, self._table.rows, row, int(seq["found"]))
        self._counters["preempted"] = 0

    # -- what comes of it ----------------------------------------------------------------------

    @property
    def gaps(self) -> Histogram:
        """Seconds between consecutive tokens of one request, all requests."""
        self._gaps.total = float(self._counters["gap_total"])
        self._gaps.squares = float(self._counters["gap_squares"])
        return self._gaps

    @property
    def plan_age(self) -> Spread:
        """Seconds since the snapshot of the plan in force, over the steps."""
        total, most = float(self._counters["age_total"]), float(self._counters["age_most"])
        return Spread(self.steps, total, most)

    def counts(self) -> dict[str, float]:
        """Return what the engine and its planner counted, under the names of results."""
        planner, age = self._planner, self.plan_age
        return {
            "steps": self.steps,
            "preemptions": self.preemptions,
            "plan_failures": planner.failures if planner else 0,
            "plans": planner.plans if planner else 0,
            "mean_plan_age_ms": age.mean * 1e3,
            "max_plan_age_ms": age.most * 1e3,
            "margin": planner.margin.factor if planner else 1.0,
        }

    def _records(
        self,
        trace: Sequence[TracedRequest],
        first: FloatArray,
        finish: FloatArray,
        lengths: IntArray,
    ) -> Records:
        planner = self._planner
        started = trace[0].request.arrival if len(trace) else 0.0
        ended = float(np.nanmax(finish, initial=started))
        return Records(
            trace, first, finish, lengths, self.gaps, max(ended - started, 0.0), self.steps,
            self.preemptions, planner.failures if planner else 0,
            planner.plans if planner else 0, self.plan_age,
            planner.margin.factor if planner else 1.0,
        )  # fmt: skip


class _Arrivals:
    """The requests of a trace, as their time comes: some overhead after they arrive."""

    def __init__(self, trace: Iterable[TracedRequest], overhead: float) -> None:
        self._trace, self._overhead = enumerate(trace), overhead
        self._next = next(self._trace, None)

    @property
    def next_at(self) -> float:
        """When the next one comes, s; inf if none does."""
        return inf if self._next is None else self._next[1].request.arrival + self._overhead

    def until(self, now: float) -> Iterator[tuple[int, TracedRequest]]:
        """Take out who has come by now, with its place in the trace."""
        while self._next is not None and self.next_at <= now:
            came, self._next = self._next, next(self._trace, None)
            after = came[1].request.arrival
            if self._next is not None and self._next[1].request.arrival < after:
                raise ValueError(
                    f"trace must be sorted by arrival, but its request {self._next[0]} comes at "
                    f"{self._next[1].request.arrival:g} s, the one before it at {after:g} s"
                )
            yield came


def _needs(planner: Planner | None) -> str:
    return "a" if planner is None else "no"
