"""The scheduler with a planner that works in a thread: tokens, conservation and law 14."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from slosched.core.plan import Plan
from slosched.core.protocols import Policy
from slosched.core.snapshot import Snapshot
from slosched.planner import Beside, Planner
from slosched.policies.sjf import Sjf
from slosched.vllm.metrics import engine_metrics
from tests.vllm.harness import AtRandom, Engine, Job, Witness, make_planner

both_depths = pytest.mark.parametrize("depth", [1, 2])
JOBS = [Job("first", 10, 30), *(Job(f"job{n}", 10, n) for n in (12, 5, 9, 3))]
BY_LENGTH = ["first", "job3", "job5", "job9", "job12"]
Start = Callable[..., Engine]


@dataclass
class Hanging:
    """Does not come back, once armed, until a test lets it."""

    armed: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    def plan(self, snapshot: Snapshot) -> Plan:
        if self.armed:
            self.released.wait()
        return Plan(np.arange(len(snapshot)))


class Raising:
    def plan(self, _: Snapshot) -> Plan:
        raise RuntimeError("no plan today")


class Nonsense:
    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan(np.zeros(len(snapshot), dtype=np.int64), np.array([10**9]), max_num_seqs=-7)


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Start]:
    engines: list[Engine] = []

    def started(policy: Policy, depth: int, **options: Any) -> Engine:
        lengths = {job.name: job.output for job in JOBS}
        planner = make_planner(policy, lengths, fallback=Sjf(), worker=Beside(), **options)
        engines.append(Engine(tiny_model, planner, depth=depth, sequences=1))
        return engines[-1]

    yield started
    for engine in engines:
        engine.scheduler.shutdown()


def heard(planner: Planner) -> None:
    """Give the thread time to solve what it was given."""
    worker: Any = planner._worker
    for _ in range(5000):
        if not worker.busy:
            return
        time.sleep(1e-3)
    raise AssertionError("the thread does not come back")


def failures() -> float:
    return float(engine_metrics().plan_failures._value.get())


@both_depths
def test_a_policy_that_hangs_leaves_the_greedy_order(start: Start, depth: int) -> None:
    policy, before = Hanging(), failures()
    with capture_logs() as logs:
        engine = start(policy, depth, patience=0.05)  # s; a step takes 10 ms
        engine.add(*JOBS)
        for _ in range(2):  # until lengths are known
            engine.step()
            heard(engine.planner)
        policy.armed = True
        engine.planner.table.version += 1  # as if somebody came
        engine.run()
    assert engine.finished == BY_LENGTH
    engine.check_empty()
    assert engine.planner.failures == failures() - before == 1
    assert [entry["event"] for entry in logs] == ["plan_late"]
    assert not engine.caught
    policy.released.set()


@both_depths
@pytest.mark.parametrize("policy", [Raising(), Nonsense()], ids=lambda p: type(p).__name__)
def test_a_policy_that_fails_leaves_the_greedy_order(
    start: Start, depth: int, policy: Policy
) -> None:
    with capture_logs() as logs:
        engine = start(policy, depth)
        engine.add(JOBS[0])
        failures_at_start = engine.planner.failures
        while engine.planner.failures == failures_at_start:
            engine.step()
            heard(engine.planner)
        engine.add(*JOBS[1:])
        engine.step()
        heard(engine.planner)  # and so predicted
        engine.run()
    assert engine.finished == BY_LENGTH
    engine.check_empty()
    assert [entry["event"] for entry in logs] == ["plan_failed"]
    assert not engine.caught


@both_depths
def test_plans_out_of_the_thread_are_followed(start: Start, depth: int) -> None:
    engine = start(Witness(Sjf()), depth)
    engine.add(JOBS[0])
    engine.step()
    engine.add(*JOBS[1:])
    while engine.scheduler.has_requests():
        engine.step()
        heard(engine.planner)
    engine.run()
    assert engine.finished == BY_LENGTH
    engine.check_empty()
    assert engine.planner.failures == 0
    assert engine.planner.plans > 0
    assert not engine.caught


@both_depths
@pytest.mark.parametrize("seed", range(5))
def test_plans_of_any_age_lose_nothing(tiny_model: Path, depth: int, seed: int) -> None:
    """Laws 1, 2 and 10: the thread is as late as it happens to be."""
    policy = Witness(AtRandom(np.random.default_rng(seed)))
    # In virtual time a second is no time at all.
    planner = make_planner(policy, worker=Beside(), patience=np.inf)
    engine = Engine(tiny_model, planner, depth=depth, blocks=16)
    jobs = [Job(f"{seed}-{i}", 1 + 7 * i % 90, 1 + 5 * i % 24) for i in range(60)]
    for i, job in enumerate(jobs):
        engine.add(job)
        engine.step()
        if i % 3 == seed % 3:
            time.sleep(1e-3)
    engine.run()
    assert engine.outputs == {job.name: job.expected for job in jobs}
    engine.check_empty()
    assert not engine.caught
    assert planner.failures == 0
    engine.scheduler.shutdown()


def test_a_policy_that_hangs_at_the_start_lets_the_engine_start(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slosched.vllm.edit._LONGEST_WARM_UP", 0.05)
    policy = Hanging(armed=True)
    engine = start(policy, depth=1, patience=0.05)
    assert engine.scheduler._shield.failures == 1
    engine.add(*JOBS)
    engine.run()
    assert engine.finished == [job.name for job in JOBS]  # by lengths that nobody predicted
    engine.check_empty()
    policy.released.set()


def test_what_the_planner_logs_is_among_vllms_lines(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    logger = logging.getLogger("vllm.slosched")
    monkeypatch.setattr(logger, "level", logging.WARNING)
    monkeypatch.setattr(logger, "warning", lambda line, *_, **__: lines.append(line))
    start(Raising(), depth=1)
    [line] = lines
    assert line.startswith("plan_failed")
    assert "RuntimeError: no plan today" in line
    assert "snapshot = " not in line, "a traceback without the values of variables"


def test_shutdown_ends_the_thread(start: Start) -> None:
    engine: Any = start(Sjf(), depth=1)
    engine.add(*JOBS)
    engine.run()
    thread = engine.planner._worker._thread
    assert thread.is_alive()
    engine.scheduler.shutdown()
    thread.join(timeout=10)
    assert not thread.is_alive()
