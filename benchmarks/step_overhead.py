"""What slosched adds to an engine step: vLLM's real scheduler class, with and without it.

Tier A of the tests: no model, but a script of what it would say and a device that takes its time
for each step, asynchronously. 256 requests run and 1,000 wait, while others come and go.
"""

import gc
import os
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_most, finish, note, run

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(FOLDER.parent))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's and torch's own
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler

    from slosched.vllm.scheduler import SloScheduler
    from tests.vllm.harness import Job, ScriptedModel, engine_config, make_scheduler
    from tests.vllm.tiny_model import write_tiny_model

RUNNING, WAITING = 256, 1000
MEDIAN_BAR, P99_BAR = 100.0, 1000.0  # us
CLASSES = ("interactive", "completion", "batch")
MOST_PROMPT, MOST_OUTPUT, BLOCKS = 400, 500, 20_000
OURS, THEIRS = "slosched", "vLLM"
_METHODS = ("add_request", "schedule", "update_from_output", "_free_request", "_preempt_request")


class Meter:
    """Charges time to whoever is at work: slosched, or vLLM inside of it, or slosched in that."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds = dict.fromkeys((OURS, THEIRS), 0.0)
        self._who = ""
        self._since = 0.0

    def switch(self, who: str) -> str:
        """Charge from now on to somebody else; return who it was."""
        now = self._clock()
        if self._who:
            self.seconds[self._who] += now - self._since
        before, self._who, self._since = self._who, who, now
        return before

    def take(self) -> dict[str, float]:
        """Return what was charged since this was last asked."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken

    def watch(self, scheduler_cls: type, who: str) -> None:
        """Charge the methods of a class to somebody."""
        for name in _METHODS:
            setattr(scheduler_cls, name, self._watched(getattr(scheduler_cls, name), who))

    def _watched(self, method: Callable[..., Any], who: str) -> Callable[..., Any]:
        @wraps(method)
        def watched(*args: object, **kwargs: object) -> object:
            before = self.switch(who)
            try:
                return method(*args, **kwargs)
            finally:
                self.switch(before)

        return watched


@dataclass
class Times:
    """Microseconds: of slosched and of vLLM in each step, and of each request's entry."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    entries: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    plans: int = 0


def jobs(seed: int) -> Iterator[Job]:
    """Draw requests without end."""
    rng = np.random.default_rng(seed)
    for i in range(sys.maxsize):
        yield Job(
            f"{seed}-{i}",
            int(rng.integers(50, MOST_PROMPT)),
            int(rng.integers(50, MOST_OUTPUT)),
            arrival=time.time(),
            max_tokens=MOST_OUTPUT,
            tag={"slosched_class": CLASSES[rng.choice(3, p=[0.5, 0.3, 0.2])]},
        )


class Engine:
    """vLLM's engine core at depth 2: the next step is scheduled while the device computes."""

    def __init__(self, scheduler: Any, meter: Meter, step_seconds: float, seed: int) -> None:  # noqa: ANN401 - vLLM's
        self.scheduler = scheduler
        self.times = Times()
        self._meter = meter
        self._step_seconds = step_seconds
        self._jobs = jobs(seed)
        self._model = ScriptedModel()
        self._pipeline: deque[tuple[Any, Any, float]] = deque()
        self._idle_from = 0.0

    def fill(self) -> None:
        """Let requests come until enough are there."""
        for job in self._jobs:
            if len(self.scheduler.requests) >= RUNNING + WAITING:
                break
            request = job.request()
            self._model.scripts[job.name] = (job.prompt, job.script)
            self.scheduler.add_request(request)
            self.times.entries.append(sum(self._meter.take().values()) * 1e6)

    def step(self) -> None:
        """Take one turn of vLLM's `step_with_batch_queue`."""
        output = self.scheduler.schedule()
        # The device begins when the step before is done, and this one is known.
        self._idle_from = max(self._idle_from, time.perf_counter()) + self._step_seconds
        self._pipeline.append((output, self._model.execute(output), self._idle_from))
        if len(self._pipeline) > 1:
            scheduled, sampled, ready_at = self._pipeline.popleft()
            time.sleep(max(ready_at - time.perf_counter(), 0.0))
            self.scheduler.update_from_output(scheduled, sampled)
        taken = self._meter.take()
        self.times.ours.append(taken[OURS] * 1e6)
        self.times.theirs.append(taken[THEIRS] * 1e6)
        self.times.running.append(len(self.scheduler.running))


def measure(
    scheduler_cls: type, model: Path, meter: Meter, steps: int, step_seconds: float, seed: int
) -> Times:
    """Fill an engine up, then take its times while it keeps busy."""
    config = engine_config(
        model, depth=2, blocks=BLOCKS, sequences=RUNNING, tokens=2048, context=1024
    )
    engine = Engine(make_scheduler(scheduler_cls, config), meter, step_seconds, seed)
    for _ in range(steps // 5):
        engine.fill()
        engine.step()
    gc.collect()
    gc.freeze()  # as vLLM's engine process does
    engine.times = Times()
    for _ in range(steps):
        engine.fill()
        engine.step()
    gc.unfreeze()
    planner = getattr(engine.scheduler, "_planner", None)
    engine.times.plans = planner.plans if planner else 0
    engine.scheduler.shutdown()
    return engine.times


def figures(name: str, microseconds: list[float]) -> Measure:
    """Say how a time is distributed, without a bar."""
    median, p99 = np.percentile(microseconds, [50, 99])
    return Measure(name, f"{median:.0f} us, p99 {p99:.0f} us, most {max(microseconds):.0f} us")


def main(
    steps: Annotated[int, typer.Option(min=100, help="Of each round.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Of each scheduler, in turn.")] = 2,
    step_ms: Annotated[float, typer.Option(min=0, help="What the device takes.")] = 10.0,
    cpu: Annotated[
        bool,
        typer.Option("--cpu", help="Of the engine's thread alone: for machines that others use."),
    ] = False,
    quick: Quick = False,
    json: Json = None,
    seed: Seed = 0,
) -> None:
    """Measure the time that slosched adds to a step of vLLM's scheduler."""
    if quick:
        steps, rounds = 100, 1
    meter = Meter(time.thread_time if cpu else time.perf_counter)
    meter.watch(Scheduler, THEIRS)
    meter.watch(SloScheduler, OURS)
    ours: list[Times] = []
    theirs: list[Times] = []
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder))
        for i in range(rounds):
            for cls, times in ((SloScheduler, ours), (AsyncScheduler, theirs)):
                note(f"round {i + 1} of {rounds}: {cls.__name__}")
                times.append(measure(cls, model, meter, steps, step_ms / 1e3, seed + i))
    added = [us for times in ours for us in times.ours]
    median, p99 = np.percentile(added, [50, 99])
    measures = [
        at_most("added to a step, median (us)", median, MEDIAN_BAR),
        at_most("added to a step, p99 (us)", p99, P99_BAR),
        Measure("added to a step, most", f"{max(added):.0f} us"),
        figures("vLLM's own, beside slosched", [us for t in ours for us in t.theirs]),
        figures("vLLM's own, alone", [us for t in theirs for us in t.theirs]),
        figures("entry of a request, slosched", [us for t in ours for us in t.entries]),
        figures("entry of a request, vLLM alone", [us for t in theirs for us in t.entries]),
        Measure("running", f"{np.mean([n for t in ours for n in t.running]):.0f} of {RUNNING}"),
        Measure("plans", f"{sum(t.plans for t in ours)} in {len(added)} steps"),
    ]
    finish(measures, quick, json, {"slosched": ours, "vllm": theirs})


if __name__ == "__main__":
    run(main)
