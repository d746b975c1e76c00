"""Simulated runs, some side by side in processes of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
from common import track
from mix import Mix, settings

from slosched.sim.summary import summarize
from slosched.sim.truth import NoisySteps
from slosched.whatif.workers import Workers


@dataclass(frozen=True)
class Job:
    """One run: which requests, how fast they come, and how they are served.

    Parameters
    ----------
    name
        What the results are filed under, with `load` and `seed`.
    overrides
        Settings as `--set` takes them.
    seed
        Assigns classes, and is the solver's and the noise's.
    slower, noise
        Steps take so many times what the planner is told, in the median, with a lognormal spread.
    """

    name: str
    mix: Mix
    load: float
    seed: int = 0
    overrides: tuple[str, ...] = ()
    slower: float = 1.0
    noise: float = 0.0


def run(job: Job, _: Callable[[int], None]) -> dict[str, Any]:
    """Simulate, and sum up: `slosched simulate`'s numbers, and what planning took."""
    _compile(job.overrides)
    return _run(job)


@cache
def _compile(overrides: tuple[str, ...]) -> None:
    """Serve a few requests on two slots first, so that no figure has a compiler's time in it."""
    _run(Job("", Mix(limit=6), 20.0, overrides=(*overrides, "engine.max_num_seqs=2")))


def _run(job: Job) -> dict[str, Any]:
    chosen = settings(list(job.overrides)).offline(job.seed)
    trace = job.mix.requests(chosen, job.load, job.seed)
    told = chosen.latency()
    truth = NoisySteps(told, job.slower, job.noise, job.seed)
    started = perf_counter()
    engine = chosen.simulated_engine(trace, truth)
    records = engine.run(trace)
    took = perf_counter() - started
    solves = np.array(engine.take_solves() or [0.0])
    return {
        "name": job.name,
        "load": job.load,
        "seed": job.seed,
        **summarize(records),
        "wall_s": took,
        "plans": len(solves),
        "mean_solve_ms": float(solves.mean() * 1e3),
        "p99_solve_ms": float(np.percentile(solves, 99) * 1e3),
    }


def run_all(jobs: Sequence[Job], workers: int, what: str) -> list[dict[str, Any]]:
    """Run jobs, results in their order; the longest, under high load, are begun first."""
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i].load)
    results: dict[int, dict[str, Any]] = {}
    with Workers(workers) as processes:
        done = processes.as_done(run, [jobs[i] for i in order])
        for _, (place, result) in zip(track(order, what), done, strict=True):
            results[order[place]] = result
    return [results[i] for i in range(len(jobs))]


def attainment(results: Sequence[dict[str, Any]], name: str, load: float | None = None) -> float:
    """Mean attainment, in percent, of the runs of that name, at that load or at all."""
    found = [
        run["slo_attainment"]
        for run in results
        if run["name"] == name and load in (None, run["load"])
    ]
    return 100 * float(np.mean(found))
