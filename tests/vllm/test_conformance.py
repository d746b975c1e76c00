"""Law 15: the simulated engine makes the batches that vLLM's scheduler makes, step by step."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from slosched.core.plan import Plan
from slosched.core.protocols import Policy
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.planner import Charged, Planner
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses
from slosched.policies.isrtf import Isrtf
from slosched.policies.planned import Planned
from slosched.policies.sjf import Sjf
from slosched.predictors.history import History
from slosched.sim.options import EngineOptions, SchedulerKind
from slosched_solvers.anneal import Anneal
from tests.vllm.conformance import CONTEXT, Workload, real, simulated
from tests.vllm.harness import BLOCK, AtRandom, Job

SCHEDULERS: list[SchedulerKind] = ["vllm-fcfs", "vllm-priority", "slosched"]
SEEDS = range(100)  # of each scheduler: 300 workloads in all


@dataclass(frozen=True)
class Capricious:
    """The worst that a valid plan can do; the same again for the same snapshot."""

    seed: int

    def plan(self, snapshot: Snapshot) -> Plan:
        moment = [self.seed, len(snapshot), int(snapshot.now * 2**20)]
        return AtRandom(np.random.default_rng(moment)).plan(snapshot)


def workload(seed: int, scheduler: SchedulerKind) -> Workload:
    """Draw an engine that is short of everything, and requests that come in bursts."""
    rng = np.random.default_rng(seed)
    sequences = int(rng.integers(1, 9))
    limits = EngineLimits(
        sequences, int(rng.integers(max(sequences, 8), 129)), BLOCK, int(rng.integers(9, 40))
    )
    options = EngineOptions(
        scheduler,
        async_scheduling=bool(rng.random() < 0.6),
        enable_prefix_caching=bool(rng.random() < 0.8),
        watermark=float(rng.choice([0.0, 0.1])),
        max_model_len=CONTEXT,
        page_tokens=BLOCK,
    )
    return Workload(_jobs(rng), limits, options, lambda: _planner(seed))


def _jobs(rng: np.random.Generator) -> list[Job]:
    count = int(rng.integers(5, 40))
    arrivals = np.sort(rng.choice(rng.uniform(0, 4, 6), count) + rng.choice([0, 0.1], count))
    jobs: list[Job] = []
    for i, arrival in enumerate(arrivals.tolist()):
        prompt = int(rng.integers(1, 100))
        output = int(rng.integers(1, 60))
        like = jobs[int(rng.integers(0, i))] if i and rng.random() < 0.4 else None
        jobs.append(
            Job(
                f"job{i:03}",
                prompt,
                output,
                arrival,
                max_tokens=int(rng.choice([output, 100, int(rng.integers(1, 60))])),
                priority=int(rng.integers(-2, 3)),
                begins_like=(like.begins_like or like.name) if like else "",
            )
        )
    return jobs


def _planner(seed: int) -> Planner:
    policies: list[Policy] = [
        Fcfs(),
        Sjf(),
        Edf(),
        Isrtf(window=5),
        Capricious(seed),
        Planned(Anneal(time_budget_ms=None, move_budget=30)),
    ]
    policy = policies[seed % len(policies)]
    worker = Charged(0.07) if seed % 4 == 1 else None
    standing = Fcfs() if seed % 12 == 0 else None
    return Planner(
        policy, History(), BoundedPasses(passes=50), Fcfs(), worker=worker, standing=standing
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_batch_is_vllms(tiny_model: Path, seed: int, scheduler: SchedulerKind) -> None:
    work = workload(seed, scheduler)
    theirs, their_ends = real(tiny_model, work)
    engine, our_ends = simulated(work)
    for at, (wanted, made) in enumerate(zip(theirs, engine.batches, strict=False)):
        assert made == wanted, f"step {at} of {work.limits}, {work.options}"
    assert len(engine.batches) == len(theirs)
    assert our_ends == their_ends


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_workloads_leave_nothing_out(scheduler: SchedulerKind) -> None:
    """Preemptions, with outputs in flight too, and prefixes that are found."""
    seen = np.array([_what_happens(workload(seed, scheduler)) for seed in SEEDS])
    assert ((seen > 0).mean(axis=0) > [0.2, 0.1, 0.4]).all(), (seen > 0).mean(axis=0)


def _what_happens(work: Workload) -> tuple[int, int, int]:
    engine, _ = simulated(work)
    return engine.preemptions, engine.stale, engine.hits
