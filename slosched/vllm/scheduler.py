"""The scheduler class that vLLM loads: take stock, plan, apply; then vLLM schedules."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from slosched.core import request as core
from slosched.core.errors import PlanError, TagError
from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits
from slosched.core.tags import Tag, Tagger, to_vllm_priority
from slosched.planner import Planner
from slosched.vllm.environment import settings
from slosched.vllm.metrics import engine_metrics
from slosched.vllm.observed import ObservedLatency
from slosched.vllm.queue import PlannedQueue
from slosched.vllm.shield import Shield
from slosched.vllm.stock import step_shape, write_progress
from slosched.vllm.warm_up import warm_up

_CAME_TO_ITS_END = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)


class SloScheduler(AsyncScheduler):
    """vLLM's scheduler with the order of its queues, and its preemptions, out of a plan.

    It owns no copy of vLLM's `schedule()`: before each step it puts `waiting` and `running`
    into the plan's order, and vLLM admits from the head as it always does.

    Requests of streaming sessions have no place in the plan: they go first, as they come.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)  # plans know no other
    wall_clock: Callable[[], float] = staticmethod(time.time)  # of vLLM's arrival_time

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._tagger, self._planner, latency = self._build()
        self._latency = ObservedLatency(latency)
        self._limits = self._engine_limits()
        self._metrics = engine_metrics()
        self._shield = Shield(self._metrics)
        self.waiting = PlannedQueue()
        self._rows: dict[str, int] = {}  # request id -> row of the planner's table
        self._guesses: dict[str, float] = {}  # request id -> length predicted at arrival
        self._unsettled: dict[str, Request] = {}  # outputs change their rows, see _settle
        self._now = 0.0
        self._planned_at = self._counted_at = 0.0
        self._depths: Counter[str] = Counter()
        self._applied_version = -1
        self._failures = 0  # of the planner's own, as exported
        with self._shield("warming up"):
            warm_up(self._planner, self._limits, latency)

    def _build(self) -> tuple[Tagger, Planner, LinearLatency]:
        """Make the parts that the configuration names."""
        configured = settings()
        return configured.tagger(), configured.planner(), configured.latency()

    # -- requests come and go ------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        """Enter a new request into the plan; it joins the end of the queue until then."""
        continues_session = request.request_id in self.requests
        super().add_request(request)
        if not continues_session and not request.resumable:
            with self._shield("entering a request"):
                self._enter(request)

    def _enter(self, request: Request) -> None:
        tag = self._tag(request)
        waited = max(self.wall_clock() - request.arrival_time, 0.0)
        entered = core.Request(
            request.request_id,
            self.clock() - waited,
            max(request.num_prompt_tokens, 1),
            tag.slo,
            tag.slo_class,
            tag.tenant,
            request.max_tokens,
            to_vllm_priority(request.priority),
        )
        table = self._planner.table
        try:
            self._planner.add(entered)
        finally:  # a predictor that raised has left the request in the table
            if request.request_id in table:
                row = self._rows[request.request_id] = table.row(request.request_id)
                self._guesses[request.request_id] = float(table.rows["length"][row])

    def _tag(self, request: Request) -> Tag:
        params = request.sampling_params  # None for pooling
        try:
            return self._tagger.from_xargs(params.extra_args if params else None)
        except TagError as error:
            self._shield.warn_once("reading a tag", error)
            return self._tagger.from_xargs(None)

    def _free_request(self, request: Request, *args: object, **kwargs: object) -> object:
        """Forget a request: vLLM comes by here whichever way a request ends."""
        freed = super()._free_request(request, *args, **kwargs)
        with self._shield("forgetting a request"):
            self._forget(request)
        return freed

    def _forget(self, request: Request) -> None:
        if self._rows.pop(request.request_id, None) is None:
            return
        self._unsettled.pop(request.request_id, None)
        guess = self._guesses.pop(request.request_id)
        length = request.num_output_tokens if request.status in _CAME_TO_ITS_END else None
        if length:
            self._metrics.prediction_error_tokens.observe(abs(guess - length))
        self._planner.remove(request.request_id, length)

    # -- one step ------------------------------------------------------------------------------

    def schedule(self, *args: object, **kwargs: object) -> SchedulerOutput:
        """Plan, bring the queues into the plan's order, and let vLLM schedule."""
        started = time.perf_counter()
        self._now = self.clock()
        with self._shield("planning"):
            # 1. Take stock.
            table = self._planner.table
            write_progress(table.rows, self._rows, self.running)

            # 2. Plan.
            victims = self._planner.plan(self._now, self._limits, self._latency.model)
            planned = time.perf_counter()

            # 3. Apply. An unchanged table means an unchanged plan, and vLLM keeps its order:
            # what it skips, it puts back in front of what it has not looked at.
            if table.version != self._applied_version:
                self._applied_version, self._planned_at = table.version, self._now
                self._metrics.solve_seconds.labels(self._planner.kind).observe(planned - started)
                self._preempt(victims.tolist())
                self._reorder(table.rows["rank"].tolist())
        before = time.perf_counter()
        output = super().schedule(*args, **kwargs)
        after = time.perf_counter()
        with self._shield("noting a step"):
            self._note_step(output, started)
            self._export(before - started + time.perf_counter() - after)
        return output

    def _preempt(self, rows: Sequence[int]) -> None:
        if self.pause_state.name != "UNPAUSED":  # whoever loses its slot now does not get it back
            return
        table = self._planner.table
        victims = [self.requests[table.request(row).request_id] for row in dict.fromkeys(rows)]
        if any(victim.status != RequestStatus.RUNNING for victim in victims):
            raise PlanError("a plan must preempt running requests only")
        # What vLLM's own schedule() passes, where it is new enough to have it.
        stale = {"drop_stale_output": True} if getattr(self, "requires_kv_delivery", False) else {}
        for victim in victims:
            self.running.remove(victim)
            self._preempt_request(victim, time.monotonic(), **stale)
            # It may resume in this very step, and must not pass for one that never stopped.
            self.prev_step_scheduled_req_ids.discard(victim.request_id)

    def _reorder(self, ranks: list[int]) -> None:
        rows = self._rows

        def place(request: Request) -> tuple[float, ...]:
            row = rows.get(request.request_id)
            # Streaming sessions go first; what could not be entered into the plan goes last.
            unplanned = -1.0 if request.resumable else float("inf")
            return (unplanned if row is None else ranks[row], request.arrival_time)

        self.waiting.reorder(place)
        # Who gets the token budget first: prompts take what decoding leaves, as the rollout has
        # it. The last is the KV victim.
        self.running.sort(key=lambda request: (request.is_prefill_chunk, *place(request)))

    def _preempt_request(self, request: Request, *args: object, **kwargs: object) -> None:
        """Note a preemption, ours or vLLM's own for want of KV."""
        super()._preempt_request(request, *args, **kwargs)
        with self._shield("noting a preemption"):
            row = self._rows.get(request.request_id)
            if row is not None:
                self._planner.table.preempt(row, request.num_tokens)
                self._unsettled[request.request_id] = request

    def _note_step(self, output: SchedulerOutput, started: float) -> None:
        live = self._planner.table.rows
        shape = step_shape(live, self._rows, output)
        if shape is not None:
            self._latency.start(output, shape, started)
        admitted = []
        for request in reversed(self.running):  # vLLM appends whom it admits
            row = self._rows.get(request.request_id)
            if row is not None:
                if live["running"][row]:
                    break
                admitted.append((row, request))
        for row, request in reversed(admitted):
            self._planner.table.admit(row)
            self._unsettled[request.request_id] = request

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Note first tokens, and how long the step took."""
        finished = time.perf_counter()
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(
            scheduler_output, model_runner_output
        )
        with self._shield("noting an output"):
            self._now = self.clock()
            self._settle()
            self._latency.finish(scheduler_output, finished)
        return outputs

    def _settle(self) -> None:
        """Follow requests whose first token, or last one before a preemption, is in flight."""
        live = self._planner.table.rows
        for request_id, request in list(self._unsettled.items()):
            row, outputs = self._rows[request_id], request.num_output_tokens
            waits = request.status == RequestStatus.PREEMPTED
            if waits:
                live["prefill"][row], live["produced"][row] = request.num_tokens, outputs
            if outputs and np.isnan(live["first_token"][row]):
                live["first_token"][row] = self._now
            if outputs and not waits:
                del self._unsettled[request_id]

    # -- for others to see ---------------------------------------------------------------------

    def _export(self, overhead: float) -> None:
        self._metrics.step_overhead_seconds.observe(overhead)
        self._metrics.plan_failures.inc(self._planner.failures - self._failures)
        self._failures = self._planner.failures
        self._metrics.plan_age_seconds.set(self._now - self._planned_at)
        drained = not self.waiting and self._depths.total() > 0
        if drained or self._now - self._counted_at >= 1.0:  # s; a long queue takes its time
            self._counted_at = self._now
            self._count_queue()

    def _count_queue(self) -> None:
        table = self._planner.table
        rows = [self._rows.get(request.request_id) for request in self.waiting]
        self._depths = Counter(dict.fromkeys(self._depths, 0))  # a class once seen stays, at 0
        self._depths.update(table.request(row).slo_class for row in rows if row is not None)
        self._metrics.set_queue_depth(self._depths)

    def _engine_limits(self) -> EngineLimits:
        sequences = self.max_num_running_reqs  # older versions know no narrower limit
        sequences = int(getattr(self, "max_num_active_reqs", None) or sequences)
        tokens = max(self.max_num_scheduled_tokens, sequences)
        blocks = int(self.cache_config.num_gpu_blocks or 1)
        return EngineLimits(sequences, tokens, self.block_size, blocks)
