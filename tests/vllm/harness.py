"""Tier A: the real scheduler class with a model that follows a script, in virtual time.

The only way to test asynchronous scheduling without a GPU: at depth 2, a step is scheduled
while the output of the one before it is still on its way.
"""

import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from slosched.core import request as core
from slosched.core.latency import LinearLatency
from slosched.core.plan import Plan
from slosched.core.protocols import Policy
from slosched.core.slo import Slo, SloClass
from slosched.core.snapshot import Snapshot
from slosched.core.tags import Tagger
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Planner
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses
from slosched.vllm.scheduler import SloScheduler
from slosched.vllm.shield import Shield
from slosched.vllm.stock import Stock

STOP = 7
BLOCK = 16
LATENCY = LinearLatency(1e-2, 1e-4, 1e-4, 1e-6)
CLASSES = {
    "interactive": SloClass("interactive", Slo(ttft=0.5)),
    "batch": SloClass("batch", Slo(e2e=60.0)),
}


@dataclass(frozen=True)
class Job:
    """A request, and what the model will say to it."""

    name: str
    prompt: int
    output: int
    arrival: float = 0.0
    max_tokens: int = 100
    tag: Mapping[str, object] = field(default_factory=dict)
    priority: int = 0
    resumable: bool = False
    begins_like: str = ""

    @property
    def prompt_ids(self) -> list[int]:
        return _tokens(self.begins_like or self.name, self.prompt)

    @property
    def script(self) -> list[int]:
        return [*_tokens(self.name + "!", self.output - 1), STOP]

    @property
    def expected(self) -> list[int]:
        return self.script[: self.max_tokens]

    def request(self) -> Request:
        params = SamplingParams(
            max_tokens=self.max_tokens, stop_token_ids=[STOP], extra_args=dict(self.tag) or None
        )
        return Request(
            self.name,
            self.prompt_ids,
            params,
            None,
            arrival_time=self.arrival,
            priority=self.priority,
            resumable=self.resumable,
            block_hasher=get_request_block_hasher(BLOCK, sha256),
        )


def _tokens(name: str, count: int) -> list[int]:
    rng = np.random.default_rng(list(name.encode()))
    return [int(token) for token in rng.integers(10, 250, count)]


@dataclass(frozen=True)
class Known:
    """Predicts the lengths that it was told; 8 for others."""

    lengths: Mapping[str, int] = field(default_factory=dict)

    def remaining(self, requests: Sequence[core.Request], produced: IntArray) -> FloatArray:
        lengths = np.array([self.lengths.get(r.request_id, 8) for r in requests], dtype=float)
        return np.maximum(lengths - produced, 1.0)


@dataclass(frozen=True)
class Witness:
    """Follows another policy, and checks that what it is shown can be."""

    policy: Policy

    def plan(self, snapshot: Snapshot) -> Plan:
        live, begun = snapshot.live, ~np.isnan(snapshot.first_token)
        assert (live["produced"][begun] >= 1).all()
        assert (live["produced"][~begun] == 0).all()
        assert (live["prefill"][~begun] >= 1).all(), "who has said nothing has a first step to come"
        waits = ~live["running"]
        assert (live["context"][waits] % BLOCK == 0).all(), "prefixes are cached by whole blocks"
        assert (live["prefill"][waits] >= 1).all()
        assert live["running"].sum() <= snapshot.limits.max_num_seqs
        return self.policy.plan(snapshot)


@dataclass(frozen=True)
class AtRandom:
    """Orders at random, takes slots away at random, and lowers limits at random.

    The worst that a valid plan can do.
    """

    rng: np.random.Generator
    share: float = 0.2
    limits: bool = True

    def plan(self, snapshot: Snapshot) -> Plan:
        unlucky = snapshot.running & (self.rng.random(len(snapshot)) < self.share)
        return Plan(
            self.rng.permutation(len(snapshot)),
            np.flatnonzero(unlucky),
            self._lower(snapshot.limits.max_num_seqs),
            self._lower(snapshot.limits.max_num_batched_tokens),
        )

    def _lower(self, limit: int) -> int | None:
        lowered = int(self.rng.integers(1, limit, endpoint=True))
        return lowered if self.limits and self.rng.random() < 0.5 else None


def make_planner(
    policy: Policy,
    lengths: Mapping[str, int] | None = None,
    passes: int = 1000,
    fallback: Policy | None = None,
    **options: Any,
) -> Planner:
    guard = BoundedPasses(passes=passes)
    return Planner(policy, Known(lengths or {}), guard, fallback or Fcfs(), **options)


class VirtualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ScriptedModel:
    """Keeps its own copy of every request, as a worker does, and says the script."""

    def __init__(self) -> None:
        self.scripts: dict[str, tuple[int, list[int]]] = {}
        self._known: dict[str, list[int]] = {}
        self._computed: dict[str, int] = {}

    def execute(self, output: SchedulerOutput) -> ModelRunnerOutput:
        for gone in (*output.finished_req_ids, *(output.preempted_req_ids or ())):
            self._computed.pop(gone, None)
        for new in output.scheduled_new_reqs:
            self._known[new.req_id] = list(new.prompt_token_ids)
            self._computed[new.req_id] = new.num_computed_tokens
        cached = output.scheduled_cached_reqs
        for request_id, computed in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
            if request_id in cached.resumed_req_ids:
                self._known[request_id] = list(cached.all_token_ids[request_id])
                self._computed[request_id] = computed
            assert self._computed[request_id] == computed, "scheduler and worker disagree"
        ids = list(output.num_scheduled_tokens)
        sampled = [self._sample(i, output.num_scheduled_tokens[i]) for i in ids]
        return ModelRunnerOutput(ids, {name: i for i, name in enumerate(ids)}, sampled)

    def _sample(self, request_id: str, tokens: int) -> list[int]:
        prompt, script = self.scripts[request_id]
        known = self._known[request_id]
        self._computed[request_id] += tokens
        assert self._computed[request_id] <= len(known), "computed a token nobody has sampled"
        if self._computed[request_id] < len(known):
            return []
        said = len(known) - prompt
        # Asynchronous scheduling runs one step past a stop; that token is thrown away.
        known.append(script[said] if said < len(script) else 0)
        return [known[-1]]


class Engine:
    """vLLM's engine core, as far as a scheduler can tell: steps, a pipeline, a clock."""

    def __init__(
        self,
        model: Path,
        planner: Planner,
        *,
        depth: int = 1,
        blocks: int = 64,
        sequences: int = 4,
        scheduler_cls: type[SloScheduler] = SloScheduler,
    ) -> None:
        self.clock = VirtualClock()
        config = engine_config(model, depth, blocks, sequences)
        self.scheduler = make_scheduler(planned_by(scheduler_cls, planner, self.clock), config)
        _check_stock(self.scheduler._stock, planner)
        self.planner = planner
        self.caught = _caught_by(self.scheduler._shield)
        self.outputs: dict[str, list[int]] = {}
        self.finished: list[str] = []
        self.aborted: list[str] = []
        self._model = ScriptedModel()
        self._depth = depth
        self._pipeline: deque[tuple[SchedulerOutput, ModelRunnerOutput]] = deque()
        self._free_at_start = self.free_blocks

    @property
    def free_blocks(self) -> int:
        pool = self.scheduler.kv_cache_manager.block_pool
        return int(pool.get_num_free_blocks())

    def add(self, *jobs: Job) -> None:
        for job in jobs:
            self._model.scripts[job.name] = (job.prompt, job.script)
            self.outputs[job.name] = []
            self.scheduler.add_request(job.request())

    def abort(self, name: str) -> None:
        gone = self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)
        self.aborted.extend(request.request_id for request in gone)

    def step(self) -> None:
        """Run one turn of vLLM's `step_with_batch_queue`, or of `step` at depth 1."""
        if self.scheduler.has_requests():
            output = self.scheduler.schedule()
            self._pipeline.append((output, self._model.execute(output)))
            self.clock.now += LATENCY.step(output.total_num_scheduled_tokens, 0, 0)
            if len(self._pipeline) < self._depth:
                return
        if self._pipeline:
            self._deliver(*self._pipeline.popleft())

    def _deliver(self, output: SchedulerOutput, model_output: ModelRunnerOutput) -> None:
        outputs = self.scheduler.update_from_output(output, model_output)
        for one in (one for batch in outputs.values() for one in batch.outputs):
            assert one.request_id not in self.finished, "spoke after its end"
            self.outputs[one.request_id].extend(one.new_token_ids)
            if one.finish_reason is not None:
                self.finished.append(one.request_id)

    def run(self, limit: int = 2000) -> None:
        """Step until nothing is left."""
        for _ in range(limit):
            if not (self.scheduler.has_requests() or self._pipeline):
                break
            self.step()
        else:
            raise AssertionError(f"not empty after {limit} steps: {self.scheduler.requests.keys()}")

    def check_empty(self) -> None:
        """Nothing is left anywhere: laws 1 and 2."""
        scheduler = self.scheduler
        assert not scheduler.requests
        assert not scheduler.running
        assert not scheduler.waiting
        assert self.free_blocks == self._free_at_start
        assert len(self.planner.table) == 0
        assert not len(scheduler._stock)
        assert not scheduler._stock._unsettled


def planned_by(
    scheduler_cls: type[SloScheduler], planner: Planner, clock: VirtualClock
) -> type[SloScheduler]:
    class Scheduler(scheduler_cls):  # type: ignore[valid-type, misc]
        def _build(self) -> tuple[Tagger, Planner, LinearLatency, None]:
            return Tagger(CLASSES, "batch"), planner, LATENCY, None

    Scheduler.clock = Scheduler.wall_clock = staticmethod(clock)
    return Scheduler


def _caught_by(shield: Shield) -> list[str]:
    """Collect the tracebacks of what a shield catches, one of each kind."""
    caught: list[str] = []
    warn_once = shield.warn_once

    def warned(doing: str, error: Exception) -> None:
        caught.extend(traceback.format_exception(error))
        warn_once(doing, error)

    shield.warn_once = warned  # type: ignore[method-assign]
    return caught


def _check_stock(stock: Stock, planner: Planner) -> None:
    """Before each step, hold what the table says of running requests against what they say."""
    sort = stock.sort

    def sorted_(running: list[Request], version: int) -> None:
        sort(running, version)
        rows = [stock.row(request) for request in running]
        assert stock._rows.tolist() == [-1 if row is None else row for row in rows]
        for request, row in zip(running, rows, strict=True):
            if row is not None:
                live = planner.table.rows[row]
                written = tuple(int(live[name]) for name in ("prefill", "context", "produced"))
                assert written == progress(request), (
                    request.request_id,
                    written,
                    progress(request),
                )

    stock.sort = sorted_  # type: ignore[method-assign]


def progress(request: Request) -> tuple[int, int, int]:
    """Tokens to prefill, tokens in the KV cache and tokens produced, as of the last step."""
    computed, outputs = request.num_computed_tokens, request.num_output_tokens
    if request.is_prefill_chunk:
        return request.num_tokens - computed, computed, outputs
    if outputs:
        # Under asynchronous scheduling, tokens of the step in flight are but placeholders yet.
        return 0, computed, outputs + request.num_output_placeholders
    # The first token is in flight: to a plan it is still to come, out of the next step.
    return 1, computed, 0


def make_scheduler(scheduler_cls: type[Scheduler], config: Any) -> Any:
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    kv_cache = KVCacheConfig(
        num_blocks=config.cache_config.num_gpu_blocks,
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
    )
    structured_output = StructuredOutputManager(config)
    return scheduler_cls(config, kv_cache, structured_output, block_size=BLOCK, log_stats=True)


@cache
def engine_config(
    model: Path, depth: int, blocks: int, sequences: int, tokens: int = 64, context: int = 128
) -> Any:
    config = EngineArgs(
        model=str(model),
        dtype="float32",
        enforce_eager=True,
        block_size=BLOCK,
        max_model_len=context,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
    ).create_engine_config()
    config.scheduler_config.async_scheduling = depth > 1  # which vLLM leaves off on CPU
    config.cache_config.num_gpu_blocks = blocks
    init_none_hash(sha256)
    return config
