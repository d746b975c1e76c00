"""How much of what the annealer finds in ten seconds it has found in milliseconds."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from captured import captured
from common import Json, Measure, Quick, Seed, at_most, finish, run, track
from instances import backlog, problem, warm_up
from mix import Mix, Traces

from slosched.core.protocols import Problem
from slosched_solvers.anneal import Anneal

POLICY = {"mix": "sjf", "in operation": "planned"}  # that served until the snapshot
DRAWN = ("backlog", *POLICY)
CURVE_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Size(NamedTuple):
    """How many wait, for how many slots; and what a plan may be short of after how long."""

    waiting: int
    slots: int
    budget_ms: float
    bar: float  # percent
    load: float  # of the mix, so that as many come to wait

    def __str__(self) -> str:
        return f"n = {self.waiting}, B = {self.slots}"


SIZES = (Size(200, 32, 20.0, 1.0, 2.0), Size(1000, 256, 100.0, 3.0, 12.0))


class Point(NamedTuple):
    """A plan: of which instance, and by which budget and seed; its cost, and the time it took."""

    size: str
    drawn: str
    instance: int
    budget_ms: float
    seed: int
    cost: float
    wall_ms: float
    moves: int


def main(
    traces: Traces = None,
    instances: Annotated[int, typer.Option(min=1, help="Of each size and each way.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Of the solver, for each instance.")] = 3,
    reference_seconds: Annotated[float, typer.Option(min=0.1, help="What to compare with.")] = 10.0,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Anneal the same instances for 1 to 100 ms and for 10 s, with all decisions open.

    A third of the instances are drawn (`backlog`: half of the requests can keep their limits), a
    third are snapshots of the simulated mix under overload, where most have missed theirs already
    (`mix`), and a third are such with the order of the plan before (`in operation`).
    """
    sizes: tuple[Size, ...] = SIZES
    if quick:
        sizes = (SIZES[0]._replace(waiting=40, slots=8, load=6.0),)
        instances, seeds, reference_seconds = 1, 1, 0.2
    warm_up()
    wanted = [
        (size, drawn, i, s)
        for size in sizes
        for drawn in DRAWN
        for i, s in product(range(instances), range(seeds))
    ]
    points = [
        point
        for size, drawn, i, s in track(wanted, "annealing")
        for point in _points(
            size, drawn, i, s, seed, Mix(traces, 2 * size.waiting), reference_seconds
        )
    ]
    measures = [m for size in sizes for m in _measures(size, points)]
    finish(measures, quick, json, [point._asdict() for point in points])


def _points(
    size: Size, drawn: str, instance: int, solver_seed: int, seed: int, mix: Mix, reference_s: float
) -> Iterator[Point]:
    asked = _problem(size, drawn, instance, seed, mix)
    solver = Anneal(horizon=size.waiting, seed=solver_seed)
    for budget_ms in (*CURVE_MS, reference_s * 1e3):
        started = perf_counter()
        found = replace(solver, time_budget_ms=budget_ms).solve(asked)
        wall_ms = (perf_counter() - started) * 1e3
        yield Point(
            str(size), drawn, instance, budget_ms, solver_seed, found.cost, wall_ms, found.moves
        )


def _problem(size: Size, drawn: str, instance: int, seed: int, mix: Mix) -> Problem:
    if drawn in POLICY:
        seed += instance
        snapshot = captured(mix, size.waiting, size.slots, size.load, seed, POLICY[drawn])
    else:
        rng = np.random.default_rng([seed, size.waiting, instance])
        snapshot = backlog(rng, size.waiting, size.slots)
    return problem(snapshot, all_decisions=True)


def _measures(size: Size, points: list[Point]) -> Iterator[Measure]:
    for drawn in DRAWN:
        rows = [p for p in points if (p.size, p.drawn) == (str(size), drawn)]
        for budget_ms in CURVE_MS:
            gaps = _gaps(rows, budget_ms)
            wall = np.mean([p.wall_ms for p in rows if p.budget_ms == budget_ms])
            moves = np.mean([p.moves for p in rows if p.budget_ms == budget_ms])
            name = f"{size}, {drawn}: cost after {budget_ms:g} ms above the reference, %"
            figure = f"{gaps.mean():.2f} (worst {gaps.max():.2f}; {wall:.0f} ms, {moves:.0f} moves)"
            measure = Measure(name, figure)
            if budget_ms == size.budget_ms:
                judged = at_most(name, float(gaps.mean()), size.bar, "{:.2f}")
                measure = replace(judged, figure=figure)
            yield measure


def _gaps(rows: list[Point], budget_ms: float) -> Any:  # noqa: ANN401 - an array of percents
    """By how much each instance costs more than its reference, both as means over the seeds."""
    reference_ms = max(p.budget_ms for p in rows)
    gaps = []
    for instance in sorted({p.instance for p in rows}):
        cost, reference = (
            np.mean([p.cost for p in rows if (p.instance, p.budget_ms) == (instance, ms)])
            for ms in (budget_ms, reference_ms)
        )
        gaps.append(100 * (cost / reference - 1))
    return np.array(gaps)


if __name__ == "__main__":
    run(main)
