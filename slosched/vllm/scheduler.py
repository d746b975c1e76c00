"""The scheduler class that vLLM loads: plan, apply, let vLLM schedule, take stock."""

import time
from collections.abc import Callable, Sequence

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from slosched.core import request as core
from slosched.core.errors import PlanError, TagError
from slosched.core.latency import LinearLatency
from slosched.core.tags import Tag, Tagger, to_vllm_priority
from slosched.planner import Planner
from slosched.planner.observed import ObservedLatency
from slosched.vllm.edit import Edit, edited, warm_up
from slosched.vllm.edits import Edits
from slosched.vllm.environment import files, settings
from slosched.vllm.limits import ceilings, engine_limits, held_to
from slosched.vllm.logs import log_beside_vllm
from slosched.vllm.metrics import engine_metrics
from slosched.vllm.prefix import cached_tokens
from slosched.vllm.queue import PlannedQueue
from slosched.vllm.request_log import RequestLog
from slosched.vllm.shield import Shield
from slosched.vllm.stock import Stock
from slosched.vllm.telemetry import Telemetry
from slosched.vllm.transcript import Decoder, EngineTranscript

_CAME_TO_ITS_END = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)


class SloScheduler(AsyncScheduler):
    """vLLM's scheduler with the order of its queues, and its preemptions, out of a plan.

    It owns no copy of vLLM's `schedule()`: before each step it puts `waiting` and `running`
    into the plan's order, and vLLM admits from the head as it always does, under limits that
    the plan may have lowered for the step.

    Requests of streaming sessions have no place in the plan: they go first, as they come.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)  # plans know no other
    wall_clock: Callable[[], float] = staticmethod(time.time)  # of vLLM's arrival_time

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        log_beside_vllm()
        self._decoder = Decoder(self.vllm_config.model_config)
        self._metrics = engine_metrics()
        self._edits = Edits(files(), self._edited, self._count_reload)
        self._tagger, planner, latency, self._request_log = self._build()
        self._latency = ObservedLatency(latency)
        self._limits = engine_limits(self)
        self._shield = Shield(self._metrics)
        self._follow(planner)
        # Drafted tokens may be rejected, and KV blocks of others may fail to arrive.
        self._takes_back = bool(self.num_spec_tokens or self.connector)
        with self._shield("warming up"):
            warm_up(planner, self._limits, latency)
        self._edits.start()

    def _follow(self, planner: Planner) -> None:
        """Take orders from a planner; nobody may be waiting or running."""
        self._planner = planner
        self._telemetry = Telemetry(planner, self._metrics)
        self._stock = Stock(planner.table)
        self.waiting = PlannedQueue(self._stock)
        self._followed = -1  # version of the plan that the waiting queue follows

    def _build(self) -> tuple[Tagger, Planner, LinearLatency, RequestLog | None]:
        """Make the parts that the configuration names."""
        self._settings = configured = settings()
        wanted = configured.request_log
        log = RequestLog(wanted) if wanted else None
        return configured.tagger(), configured.planner(), configured.latency(), log

    def _edited(self) -> Edit:
        """Make what is to change, beside the engine."""
        edit = edited(self._settings, settings(), self._limits, self._latency.model)
        self._settings = edit.settings
        return edit

    def _count_reload(self, outcome: str) -> None:
        self._metrics.config_reloads.labels(outcome).inc()

    def _take_edit(self) -> None:
        """Go by an edited configuration from now on; whoever is here stays, as what it came as."""
        if (edit := self._edits.take()) is None:
            return
        self._tagger = edit.tagger
        if edit.manner is not None:
            self._planner.change(edit.manner, keep_predictor=edit.keep_predictor)

    def shutdown(self) -> None:
        """Stop planning, too."""
        self._edits.close()
        with self._shield("shutting down"):
            self._planner.close()
            if self._request_log is not None:
                self._request_log.close()
        super().shutdown()

    # -- requests come and go ------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        """Enter a new request into the plan, then into the queue."""
        continues_session = request.request_id in self.requests
        if not continues_session and not request.resumable:
            with self._shield("entering a request"):
                self._take_edit()
                self._enter(request)
        super().add_request(request)

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
            transcript=EngineTranscript(request, self._decoder),
        )
        table = self._planner.table
        try:
            self._planner.add(entered)
        finally:  # what raised may have left the request in the table
            if request.request_id in table:
                row = table.row(request.request_id)
                self._stock.enter(request, row)
                self._telemetry.entered(row, tag.slo_class)
        self._stock.wait(request, cached_tokens(self.kv_cache_manager, request))

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
        row = self._stock.forget(request)
        if row is None:
            return
        length = request.num_output_tokens
        if length and request.status in _CAME_TO_ITS_END:
            self._telemetry.ended(row, length)
            if self._request_log is not None:
                entered = self._planner.table.request(row)
                self._request_log.finished(entered, request.arrival_time, length)
            self._planner.finish(request.request_id, length, self.clock())
        else:
            self._planner.remove(request.request_id)

    def reset_prefix_cache(self, *args: object, **kwargs: object) -> bool:
        """Forget what requests would have found there, too."""
        done: bool = super().reset_prefix_cache(*args, **kwargs)
        with self._shield("noting an empty prefix cache"):
            for request in self.waiting:
                if self._stock.row(request) is not None:
                    self._stock.wait(request, cached_tokens(self.kv_cache_manager, request))
        return done

    # -- one step ------------------------------------------------------------------------------

    def schedule(self, *args: object, **kwargs: object) -> SchedulerOutput:
        """Plan, bring the queues into the plan's order, and let vLLM schedule."""
        started = time.perf_counter()
        lowered: dict[str, int] = {}
        with self._shield("planning"):
            # 1. Plan.
            self._take_edit()
            decision = self._planner.plan(self.clock(), self._limits, self._latency.model)

            # 2. Apply.
            if len(decision.preempt):
                self._preempt(self._victims(decision.preempt.tolist()))
            self._stock.sort(self.running, self._planner.version)
            lowered = ceilings(self, decision, len(self.running), self._stock.decoding)
            if self._planner.version != self._followed:
                self._followed = self._planner.version
                self.waiting.follow_plan()
        with held_to(self, lowered):
            output = super().schedule(*args, **kwargs)
        with self._shield("taking stock"):
            # 3. Take stock, for the next plan.
            shape = self._stock.advance(output, self.running)
            if shape is not None:
                self._latency.start(output, shape, started)
            self._planner.hand_over()
            self._telemetry.step(self._shield.take_seconds())
        return output

    def _victims(self, rows: Sequence[int]) -> list[Request]:
        """Look up who loses its slot; PlanError if it has none."""
        if self.pause_state.name != "UNPAUSED":  # whoever loses its slot now does not get it back
            return []
        table = self._planner.table
        victims = [self.requests[table.request(row).request_id] for row in dict.fromkeys(rows)]
        if any(victim.status != RequestStatus.RUNNING for victim in victims):
            raise PlanError("a plan must preempt running requests only")
        return victims

    def _preempt(self, victims: Sequence[Request]) -> None:
        # What vLLM's own schedule() passes, where it is new enough to have it.
        stale = {"drop_stale_output": True} if getattr(self, "requires_kv_delivery", False) else {}
        for victim in victims:
            self.running.remove(victim)
            self._preempt_request(victim, time.monotonic(), **stale)
            # It may resume in this very step, and must not pass for one that never stopped.
            self.prev_step_scheduled_req_ids.discard(victim.request_id)

    def _preempt_request(self, request: Request, *args: object, **kwargs: object) -> None:
        """Note a preemption, ours or vLLM's own for want of KV."""
        super()._preempt_request(request, *args, **kwargs)
        with self._shield("noting a preemption"):
            if self._stock.row(request) is not None:
                self._stock.preempt(request, cached_tokens(self.kv_cache_manager, request))

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Note first tokens, and how long the step took."""
        finished = time.perf_counter()
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(
            scheduler_output, model_runner_output
        )
        with self._shield("noting an output"):
            now = self.clock()
            if self._takes_back or self._stock.torn:
                self._stock.correct(self.running)
            self._stock.settle(now)
            self._latency.finish(scheduler_output, finished)
            if self._telemetry.due(now) or not self.requests:
                self._telemetry.publish(now)
        return outputs
