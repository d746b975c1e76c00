"""How near the annealer's orders are to the best ones, where the best ones can be known."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Annotated

import numpy as np
import typer
from common import Json, Measure, Quick, Seed, at_least, finish, run, track
from instances import one_by_one, problem, varied

from slosched.core.snapshot import Snapshot
from slosched_solvers.anneal import Anneal
from slosched_solvers.cpsat import CpSat
from slosched_solvers.exhaustive import Exhaustive

SAME = 1e-9  # relative


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
    if quick:
        exhaustive_instances, moore_instances, cpsat_instances = 10, 10, 2
        cpsat_seconds = 0.5
    shares = {
        "exhaustive": against_exhaustive(exhaustive_instances, seed, quick),
        "moore": against_moore_hodgson(moore_instances, seed),
        "cpsat": against_cpsat(cpsat_instances, cpsat_seconds, seed),
    }
    measures: list[Measure] = []
    for key, name, bar in (
        ("exhaustive", "n <= 8, 5 ms: as good as all orders, % of instances", 99.0),
        ("moore", "n = 50, one slot, 20 ms: as many on time as Moore-Hodgson, %", 99.0),
        ("cpsat", f"n = 20..40, 10 ms: no worse than CP-SAT in {cpsat_seconds:g} s, %", 95.0),
    ):
        if (found := shares[key]) is not None:
            measures.append(at_least(name, 100 * float(np.mean(found)), bar))
    finish(measures, quick, json, shares)


def against_exhaustive(instances: int, seed: int, quick: bool) -> list[bool] | None:
    """Whether 5 ms of annealing found an order as good as the best of all."""
    most = 6 if quick else 8

    def instance(rng: np.random.Generator) -> bool:
        n = int(rng.integers(4, most + 1))
        snapshot = varied(rng, n, slots=int(rng.integers(1, 5)))
        best = Exhaustive(max_waiting=most).solve(problem(snapshot)).cost
        return _cost(snapshot, 5.0) <= best + SAME * abs(best)

    return _each(instance, instances, seed, "exhaustive search")


def against_moore_hodgson(instances: int, seed: int) -> list[bool] | None:
    """Whether 20 ms of annealing got as many on time as is optimal with one slot."""

    def instance(rng: np.random.Generator) -> bool:
        snapshot = one_by_one(rng, 50)
        found = Anneal(time_budget_ms=20.0).solve(problem(snapshot)).attained
        return found == most_on_time(snapshot)

    return _each(instance, instances, seed, "Moore-Hodgson")


def against_cpsat(instances: int, seconds: float, seed: int) -> list[bool] | None:
    """Whether 10 ms of annealing are worth what CP-SAT finds in seconds."""

    def instance(rng: np.random.Generator) -> bool:
        n = int(rng.integers(20, 41))
        snapshot = varied(rng, n, slots=int(rng.integers(2, 9)))
        best = CpSat(time_limit_s=seconds, workers=1).solve(problem(snapshot)).cost
        return _cost(snapshot, 10.0) <= best + SAME * abs(best)

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
    instance: Callable[[np.random.Generator], bool], instances: int, seed: int, what: str
) -> list[bool] | None:
    """Ask for each of some instances, each drawn from a stream of its own."""
    if not instances:
        return None
    streams = np.random.SeedSequence(seed).spawn(instances)
    return [bool(instance(np.random.default_rng(s))) for s in track(streams, what)]


if __name__ == "__main__":
    run(main)
