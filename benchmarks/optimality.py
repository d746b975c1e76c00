"""How near the annealer's orders are to the best ones, where the best ones can be known."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Annotated

import numpy as np
import typer
from common import Json, Measure, Quick, Seed, at_least, finish, run, track
from instances import one_by_one, problem, varied, warm_up

from slosched.core.snapshot import Snapshot
from slosched_solvers.anneal import Anneal
from slosched_solvers.cpsat import CpSat
from slosched_solvers.exhaustive import Exhaustive

SAME = 1e-9  # relative
SLIGHT = 0.1  # requests: less comes of latencies, which only break ties


Pair = tuple[float, float]  # what the annealer came to, and what it is compared with


def main(
    exhaustive_instances: Annotated[int, typer.Option(min=0, help="Of 4 to 8 requests.")] = 300,
    moore_instances: Annotated[int, typer.Option(min=0, help="Of 50 requests, one slot.")] = 200,
    cpsat_instances: Annotated[int, typer.Option(min=0, help="Of 20 to 40 requests.")] = 32,
    cpsat_seconds: Annotated[float, typer.Option(min=0.1, help="For each of those.")] = 10.0,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Compare the annealer with exhaustive search, with Moore-Hodgson, and with CP-SAT.

    Costs are those of the rollout; nothing runs yet, so an order is all that is asked for.
    """
    most = 8
    if quick:
        exhaustive_instances, moore_instances, cpsat_instances = 10, 10, 2
        cpsat_seconds, most = 0.5, 6
    warm_up()
    pairs = {
        "exhaustive": against_exhaustive(exhaustive_instances, seed, most),
        "moore_hodgson": against_moore_hodgson(moore_instances, seed),
        "cpsat": against_cpsat(cpsat_instances, cpsat_seconds, seed),
        "refined": against_cpsat(cpsat_instances, cpsat_seconds, seed, refine=True),
    }
    measures: list[Measure] = []
    for key, name, bar in (
        ("exhaustive", f"n <= {most}, 5 ms: as good as all orders, % of instances", 99.0),
        ("moore_hodgson", "n = 50, one slot, 20 ms: as many on time as Moore-Hodgson, %", 99.0),
        ("cpsat", f"n = 20..40, 10 ms: no worse than CP-SAT in {cpsat_seconds:g} s, %", 95.0),
        ("refined", "  the same, against CP-SAT that goes on on the rollout's durations, %", None),
    ):
        if found := pairs[key]:
            share = 100 * float(np.mean([a <= b + SAME * abs(b) for a, b in found]))
            judged = Measure(name, f"{share:.1f}") if bar is None else at_least(name, share, bar)
            measures.append(judged)
            worst = max(ours - other for ours, other in found)
            alike = np.mean([ours - other < SLIGHT for ours, other in found])
            figure = f"{100 * float(alike):.1f}% differ by less than {SLIGHT:g}, worst {worst:.3g}"
            measures.append(Measure("  in requests", figure))
    finish(measures, quick, json, pairs)


def against_exhaustive(instances: int, seed: int, most: int) -> list[Pair]:
    """Costs after 5 ms of annealing, and of the best of all orders."""

    def instance(rng: np.random.Generator) -> Pair:
        n = int(rng.integers(4, most + 1))
        snapshot = varied(rng, n, slots=int(rng.integers(1, 5)))
        return _cost(snapshot, 5.0), Exhaustive(max_waiting=most).solve(problem(snapshot)).cost

    return _each(instance, instances, seed, "exhaustive search")


def against_moore_hodgson(instances: int, seed: int) -> list[Pair]:
    """Requests that are late after 20 ms of annealing, and as few as can be with one slot."""

    def instance(rng: np.random.Generator) -> Pair:
        snapshot = one_by_one(rng, 50)
        on_time = Anneal(time_budget_ms=20.0).solve(problem(snapshot)).attained
        return len(snapshot) - on_time, len(snapshot) - most_on_time(snapshot)

    return _each(instance, instances, seed, "Moore-Hodgson")


def against_cpsat(instances: int, seconds: float, seed: int, *, refine: bool = False) -> list[Pair]:
    """Costs after 10 ms of annealing, and of CP-SAT's order after seconds, on the rollout."""
    solver = CpSat(time_limit_s=seconds, refine=refine)

    def instance(rng: np.random.Generator) -> Pair:
        n = int(rng.integers(20, 41))
        snapshot = varied(rng, n, slots=int(rng.integers(2, 9)))
        return _cost(snapshot, 10.0), solver.solve(problem(snapshot)).cost

    return _each(instance, instances, seed, "CP-SAT")


def most_on_time(snapshot: Snapshot) -> int:
    """Count by Moore (1968): by due date, and whenever one is late the longest so far goes."""
    due = snapshot.arrival + snapshot.e2e - snapshot.now
    accepted: list[float] = []
    total = 0.0
    for i in np.argsort(due, kind="stable"):
        service = float(snapshot.service[i])
        heappush(accepted, -service)
        total += service
        if total > due[i] * (1 + SAME):
            total += heappop(accepted)
    return len(accepted)


def _cost(snapshot: Snapshot, budget_ms: float) -> float:
    return Anneal(time_budget_ms=budget_ms).solve(problem(snapshot)).cost


def _each(
    instance: Callable[[np.random.Generator], Pair], instances: int, seed: int, what: str
) -> list[Pair]:
    """Ask for each of some instances, each drawn from a stream of its own."""
    streams = np.random.SeedSequence(seed).spawn(instances)
    return [instance(np.random.default_rng(stream)) for stream in track(streams, what)]


if __name__ == "__main__":
    run(main)
