"""vLLM's scheduler and the simulated engine side by side: the same requests, batch by batch."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput

from slosched.core.latency import LinearLatency
from slosched.core.request import Request, TracedRequest
from slosched.core.snapshot import EngineLimits
from slosched.planner import Planner
from slosched.sim.engine import Ended, SimulatedEngine
from slosched.sim.options import EngineOptions
from slosched.vllm.scheduler import SloScheduler
from tests.vllm.harness import (
    BLOCK,
    CLASSES,
    Job,
    ScriptedModel,
    VirtualClock,
    engine_config,
    make_scheduler,
    planned_by,
)

# A step takes as long as its tokens say, whoever's they are. Sums of powers of two are exact.
LATENCY = LinearLatency(2**-6, 2**-10, 2**-10, 0.0)
CONTEXT = 128  # max_model_len


@dataclass(frozen=True)
class Step:
    """One batch: when it was made, and how many tokens of whom it computes, in order."""

    now: float
    batch: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Workload:
    """An engine, and what is asked of it."""

    jobs: Sequence[Job]
    limits: EngineLimits
    options: EngineOptions
    make_planner: Callable[[], Planner]

    def trace(self) -> list[TracedRequest]:
        """The jobs as the simulator takes them."""
        names: dict[str, int] = {}
        return [
            _traced(job, names.setdefault(job.begins_like or job.name, len(names)))
            for job in self.jobs
        ]


def _traced(job: Job, contents: int) -> TracedRequest:
    request = Request(
        job.name, job.arrival, job.prompt, CLASSES["batch"].slo, "batch",
        max_tokens=job.max_tokens, priority=-job.priority,  # vLLM's lowest goes first
    )  # fmt: skip
    pages = tuple(contents * CONTEXT + page for page in range(-(-job.prompt // BLOCK)))
    return TracedRequest(request, job.output, hash_ids=pages)


def simulated(workload: Workload) -> tuple["Watched", dict[str, float]]:
    """What the simulated engine does, and when each request ends."""
    options = workload.options
    planner = workload.make_planner() if options.scheduler == "slosched" else None
    engine = Watched(planner, workload.limits, LATENCY, options=options)
    return engine, {e.traced.request.request_id: e.finish for e in engine.serve(workload.trace())}


class Watched(SimulatedEngine):
    """Keeps every batch; looks after each step.

    Attributes
    ----------
    hits
        How often somebody found some of its tokens in the prefix cache.
    stale
        How often somebody lost its slot with an output in flight.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches: list[Step] = []
        self.hits = self.stale = 0

    def outputs(self, next_arrival: float) -> Iterator[Ended]:
        del next_arrival
        return super().outputs(-inf)

    def _launch(self, tokens: int) -> None:
        counters = self._counters
        at = (counters["oldest"] + counters["in_flight"]) % self._rule.depth
        served = self._state.batch[at][: counters["served"]]
        names = [self._live[row][1].request.request_id for row in served["row"].tolist()]
        admitted = self._state.admitted[: counters["admitted"]]
        in_batch = dict(zip(served["row"].tolist(), served["tokens"].tolist(), strict=True))
        computed = self._state.seqs["computed"]
        self.hits += sum(computed[row] > in_batch[row] for row in admitted.tolist())
        lost = self._state.preempted[: counters["preempted"]]
        self.stale += int((self._state.seqs["stale"][lost] > 0).sum())
        super()._launch(tokens)
        if tokens:
            batch = zip(names, served["tokens"].tolist(), strict=True)
            self.batches.append(Step(self.now, tuple(batch)))


def real(model: Path, workload: Workload) -> tuple[list[Step], dict[str, float]]:
    """What vLLM's scheduler does, and when each request ends."""
    return _Real(model, workload).run()


class _Constant:
    """A latency that nobody observes: virtual steps take no real time."""

    model = LATENCY

    def start(self, *_: object) -> None:
        """Nothing to observe."""

    def finish(self, *_: object) -> None:
        """Nothing to observe."""


class _Real:
    """vLLM's engine core, as far as a scheduler can tell, in the simulator's virtual time."""

    def __init__(self, model: Path, workload: Workload) -> None:
        limits, options = workload.limits, workload.options
        self._depth = 2 if options.async_scheduling else 1
        config = deepcopy(
            engine_config(
                model, self._depth, limits.num_kv_blocks, limits.max_num_seqs,
                limits.max_num_batched_tokens, CONTEXT,
            )
        )  # fmt: skip
        config.cache_config.enable_prefix_caching = options.enable_prefix_caching
        config.scheduler_config.watermark = options.watermark
        self._clock = VirtualClock()
        if options.scheduler == "slosched":
            made = planned_by(SloScheduler, workload.make_planner(), self._clock)
        else:
            config.scheduler_config.policy = options.scheduler.removeprefix("vllm-")
            made = AsyncScheduler if options.async_scheduling else Scheduler
        self._scheduler = make_scheduler(made, config)
        if options.scheduler == "slosched":
            self._scheduler._latency = _Constant()
        self._jobs = deque(workload.jobs)
        self._model = ScriptedModel()
        self._steps: list[Step] = []
        self._ended: dict[str, float] = {}
        self._device_free = 0.0
        self._pipeline: deque[tuple[SchedulerOutput, ModelRunnerOutput, float]] = deque()

    def run(self) -> tuple[list[Step], dict[str, float]]:
        """Turn vLLM's busy loop until nothing is left."""
        while self._jobs or self._scheduler.requests or self._pipeline:
            while self._jobs and self._jobs[0].arrival <= self._clock.now:
                job = self._jobs.popleft()
                self._model.scripts[job.name] = (job.prompt, job.script)
                self._scheduler.add_request(job.request())
            if self._scheduler.has_requests():
                self._schedule()
                if len(self._pipeline) < self._depth:
                    continue
            elif not self._pipeline:
                self._clock.now = self._jobs[0].arrival
                continue
            self._deliver()
        return self._steps, self._ended

    def _schedule(self) -> None:
        output = self._scheduler.schedule()
        tokens = output.total_num_scheduled_tokens
        end = max(self._clock.now, self._device_free)
        if tokens:
            self._steps.append(Step(self._clock.now, tuple(output.num_scheduled_tokens.items())))
            end = self._device_free = end + LATENCY.step(tokens, 0, 0)
        self._pipeline.append((output, self._model.execute(output), end))

    def _deliver(self) -> None:
        output, model_output, end = self._pipeline.popleft()
        self._clock.now = max(self._clock.now, end)
        for batch in self._scheduler.update_from_output(output, model_output).values():
            for one in batch.outputs:
                if one.finish_reason is not None:
                    self._ended[one.request_id] = self._clock.now
