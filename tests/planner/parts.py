"""Small parts for tests of the planner: policies that can be watched, held up, or broken."""

import time
from dataclasses import dataclass, field
from threading import Event

import numpy as np

from slosched import EngineLimits, Plan, Request, Slo, Snapshot
from slosched.core.live import LiveTable
from slosched.core.plan import nobody
from slosched.core.protocols import Policy
from slosched.core.types import IntArray
from slosched.planner import Beside, Planner, Worker
from slosched.planner.job import Job
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import NoGuard
from slosched.predictors.oracle import Oracle
from tests.strategies import LATENCY

LIMITS = EngineLimits(2, 64, 16, 100)


def request(i: int, **limits: float) -> Request:
    return Request(f"r{i}", float(i), 10, Slo(**limits))


def make(policy: Policy, worker: Worker | None = None, **options: float) -> Planner:
    lengths = Oracle(lengths={f"r{i}": 20 for i in range(50)})
    return Planner(policy, lengths, NoGuard(), Fcfs(), worker=worker, **options)  # type: ignore[arg-type]


def step(planner: Planner, now: float) -> IntArray:
    """Plan as an engine does that does nothing else, and return the order of the live rows."""
    decision = planner.plan(now, LIMITS, LATENCY)
    assert decision.max_num_seqs <= LIMITS.max_num_seqs
    planner.hand_over()
    live = planner.table.live()
    ranked: IntArray = np.argsort(planner.table.rows["rank"][live])
    return ranked


def thread_is_done_with(worker: Beside) -> None:
    """Wait for the thread; its newest result stays with it."""
    while worker.busy:
        time.sleep(1e-3)


def table_of(n: int) -> LiveTable:
    table = LiveTable()
    for i in range(n):
        table.add(request(i))
    return table


def job_of(table: LiveTable, policy: Policy, now: float = 0.0) -> Job:
    snapshot, rows = table.snapshot(now, LIMITS, LATENCY)
    return Job(snapshot, rows, policy, NoGuard())


@dataclass
class Newest:
    """The newest first; notes the times of its snapshots."""

    preempt: IntArray = field(default_factory=nobody)
    seen: list[float] = field(default_factory=list)

    def plan(self, snapshot: Snapshot) -> Plan:
        self.seen.append(snapshot.now)
        return Plan(np.arange(len(snapshot))[::-1].copy(), self.preempt)


@dataclass
class Held:
    """The newest first, once a test lets it; notes the times of its snapshots."""

    seen: list[float] = field(default_factory=list)
    begun: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)

    def plan(self, snapshot: Snapshot) -> Plan:
        self.seen.append(snapshot.now)
        self.begun.set()
        self.released.wait()
        return Plan(np.arange(len(snapshot))[::-1].copy())


@dataclass
class Faulty:
    """Fails as it is told to; the newest first where it is told nothing."""

    how: str = ""

    def plan(self, snapshot: Snapshot) -> Plan:
        n = len(snapshot)
        match self.how:
            case "raises":
                raise RuntimeError("solver down")
            case "exits":
                raise SystemExit(1)
            case "repeats":
                return Plan(np.zeros(n, dtype=np.int64))
        return Plan(np.arange(n)[::-1].copy())
