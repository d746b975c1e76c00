"""One queue before 5 to 200 replicas, and several queues: what is attained, and what plans take."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import typer
from common import Json, Measure, Quick, Seed, at_least, finish, note, run
from mix import Mix, Traces, settings
from scaled import scaled

from slosched.sim.fleet import Sharing
from slosched.whatif.queue import Queued, serve

ASSIGNMENTS = ("planned", "fewest_outstanding", "power_of_two")
REPLICAS = (5, 10, 20, 50, 100, 200)
LOADS = (0.9, 1.2)
SHARDS = ((50, 5), (100, 2), (200, 4), (200, 8))  # replicas, queues
_SHARINGS: tuple[Sharing, ...] = ("hash", "round_robin", "least_loaded")
_POINTS = 2.0
_FEW, _MANY = 5, 50


@dataclass(frozen=True)
class Case:
    """One run."""

    replicas: int
    load: float
    assignment: str = "planned"
    shards: int = 1
    sharing: Sharing = "hash"
    together: bool = True
    first: int = 0  # of the copies of the mix

    def __str__(self) -> str:
        name = f"{self.replicas} replicas at {self.load:g}: {self.assignment}"
        if self.shards > 1:
            name += f", {self.shards} shards, {self.sharing}"
        if not self.together:
            name += ", bursts even out"
        return f"{name}, copies from {self.first}" if self.first else name


def main(
    traces: Traces = None,
    replicas: Annotated[list[int] | None, typer.Option(help="As often as wanted.")] = None,
    load: Annotated[list[float] | None, typer.Option(help="Of what all can serve.")] = None,
    limit: Annotated[int, typer.Option(min=10, help="Requests of each kind a replica.")] = 100,
    budget: Annotated[float | None, typer.Option(help="Of a plan, ms; else the default.")] = None,
    shards: Annotated[bool, typer.Option(help="Also several queues.")] = True,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve the mix, scaled to each number of replicas, in virtual time behind the real queue.

    Each replica is a simulated vLLM that serves first come, first served; the queue knows lengths
    by `history`. The mix of one replica is copied for each, in the same time, so that load and
    bursts of each are the same whatever their number; 50 are held against the mean of ten times 5,
    each with a tenth of the same requests. A plan takes as long as it took here, on one core; times
    are this machine's, so that it has to be quiet. "busy" is what the queue needs of a core beside
    plans and I/O: requests that come, each token, each end.
    """
    sizes = replicas or list((5, 10) if quick else REPLICAS)
    mix, found = Mix(traces, 40 if quick else limit), {}
    for case in _cases(sizes, load or list(LOADS[1:] if quick else LOADS), shards=shards):
        found[case] = _run(case, mix, seed, budget)
        note(f"{case}: {_figure(found[case])}")
    measures = [Measure(str(case), _figure(one)) for case, one in found.items()]
    measures += _bars(found)
    details = [{**asdict(case), **one} for case, one in found.items()]
    finish(measures, quick, json, details)


def _cases(sizes: list[int], loads: list[float], *, shards: bool) -> Iterator[Case]:
    for load in loads:
        for size in sizes:
            for assignment in ASSIGNMENTS:
                yield Case(size, load, assignment)
        if {_FEW, _MANY} <= set(sizes):
            for first in range(_FEW, _MANY, _FEW):
                yield Case(_FEW, load, first=first)
            for size in (_FEW, _MANY):
                yield Case(size, load, together=False)
    for size, k in SHARDS if shards else ():
        if size in sizes:
            yield from (Case(size, load, shards=k) for load in loads)
            for sharing in _SHARINGS[1:]:
                yield Case(size, loads[0], shards=k, sharing=sharing)


def _run(case: Case, mix: Mix, seed: int, budget: float | None) -> dict[str, Any]:
    overrides = [
        "engine.scheduler=vllm-fcfs", "predictor.kind=history",
        f"fleet.assignment={{kind: {case.assignment}}}",
    ]  # fmt: skip
    if case.assignment == "planned" and budget is not None:
        overrides.append(f"fleet.assignment.solver.time_budget_ms={budget:g}")
    copies = range(case.first, case.first + case.replicas)
    trace = scaled(mix, copies, case.load, seed, together=case.together)
    queued = Queued(case.replicas, case.shards, case.sharing, measured=True)
    records, said = serve(queued, settings(overrides), trace)
    age = records.plan_age
    return {
        "requests": len(trace),
        "attained": float(records.attained.mean()),
        "failed": int((~records.finished).sum()),
        "mean_plan_age_ms": 1e3 * age.mean,
        "max_plan_age_ms": 1e3 * age.most,
        "plans": records.plans,
        "plan_failures": records.plan_failures,
        "events_per_s": said["events"] / records.duration,
        **said,
    }


def _figure(one: dict[str, Any]) -> str:
    text = f"{100 * one['attained']:.1f}%"
    if one["plans"]:
        text += (
            f"; plan {one['median_plan_ms']:.0f} / {one['p99_plan_ms']:.0f} ms, "
            f"age {one['mean_plan_age_ms']:.0f} ms"
        )
    return f"{text}; {one['events_per_s']:.0f} events/s, busy {100 * one['busy_share']:.0f}%"


def _bars(found: dict[Case, dict[str, Any]]) -> Iterator[Measure]:
    """Hold 50 replicas against 5, and plans against the best other assignment."""
    share = {case: 100 * one["attained"] for case, one in found.items()}
    for load in dict.fromkeys(case.load for case in found):
        few = [share.get(Case(_FEW, load, first=first)) for first in range(0, _MANY, _FEW)]
        many = share.get(Case(_MANY, load))
        if many is not None and None not in few:
            lost = many - float(np.mean([one for one in few if one is not None]))
            name = f"{_MANY} replicas against {_MANY // _FEW} times {_FEW} at {load:g}, points"
            yield at_least(name, lost, -_POINTS, "{:+.1f}")
    for case in found:
        if case == Case(case.replicas, case.load):
            others = [share[Case(case.replicas, case.load, kind)] for kind in ASSIGNMENTS[1:]]
            yield at_least(f"{case}, points above the best other", share[case] - max(others), 0.0)


if __name__ == "__main__":
    run(main)
