"""What it is worth that a move resumes a rollout, and that a rollout stops when it is lost."""

from collections.abc import Iterator
from math import inf
from time import thread_time
from typing import Annotated, NamedTuple

import numpy as np
import typer
from captured import captured
from common import Json, Measure, Quick, Seed, finish, run, track
from instances import backlog, problem
from mix import Mix, Traces

from slosched.core.protocols import Problem
from slosched_solvers.anneal import Anneal, search_from
from slosched_solvers.anneal_kernel import Schedule, anneal
from slosched_solvers.checkpoints import checkpoints
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.instance import build
from slosched_solvers.starts import starts


class Size(NamedTuple):
    """How many wait, for how many slots; by how much resuming should pay; load of the mix."""

    waiting: int
    slots: int
    bar: float
    load: float

    def __str__(self) -> str:
        return f"n = {self.waiting}, B = {self.slots}"


class Way(NamedTuple):
    """How a move is priced: from a checkpoint, until it is lost, or until it seems to be."""

    resumes: bool = False
    stops: bool = False
    guesses: bool = False


SIZES = (Size(200, 32, 2.0, 2.0), Size(1000, 256, 4.0, 12.0))
FULL, RESUMES, STOPS = Way(), Way(resumes=True), Way(stops=True)
BOTH, OURS = Way(resumes=True, stops=True), Way(resumes=True, stops=True, guesses=True)
WAYS = (FULL, RESUMES, STOPS, BOTH, OURS)
WORDS = {
    RESUMES: "resumed from checkpoints",
    STOPS: "stopped once lost",
    BOTH: "resumed and stopped",
    OURS: "as the solver does: resumed, and stopped once they seem to be lost",
}


class Found(NamedTuple):
    """What a search came to: orders tried in a second of the core's time, and its last cost."""

    speed: float
    cost: float


Timing = tuple[str, str, Way, Found]  # of which size, and how the instance was drawn


def main(
    moves: Annotated[int, typer.Option(min=1, help="Of each search.")] = 4000,
    rounds: Annotated[int, typer.Option(min=1, help="Other instances, and other moves.")] = 3,
    traces: Traces = None,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Make the same moves with and without checkpoints, and with and without stopping early.

    The annealer's own kernel runs in five ways. The first two try the same orders and accept the
    same, so they must end at the same cost; a rollout that stops tells less of what a move pays,
    and one that seems to be lost may not be.
    """
    sizes: tuple[Size, ...] = SIZES
    if quick:
        sizes, moves, rounds = (Size(40, 8, 2.0, 6.0),), 100, 1
    wanted = [
        (size, drawn, number)
        for size in sizes
        for drawn in ("backlog", "mix")
        for number in range(rounds)
    ]
    timings: list[Timing] = [
        (str(size), drawn, way, found)
        for size, drawn, number in track(wanted, "searching")
        for way, found in _timings(size, drawn, seed + number, moves, Mix(traces, 2 * size.waiting))
    ]
    measures = [m for size in sizes for m in _measures(size, timings)]
    finish(measures, quick, json, [(*of, w._asdict(), f._asdict()) for *of, w, f in timings])


def _timings(
    size: Size, drawn: str, seed: int, moves: int, mix: Mix
) -> Iterator[tuple[Way, Found]]:
    if drawn == "mix":
        asked = problem(captured(mix, size.waiting, size.slots, size.load, seed))
    else:
        rng = np.random.default_rng([seed, size.waiting])
        asked = problem(backlog(rng, size.waiting, size.slots))
    for way in WAYS:
        _search(asked, 1, way, seed)  # compiles
        yield way, _search(asked, moves, way, seed)


def _search(asked: Problem, moves: int, way: Way, seed: int) -> Found:
    """Anneal from the best start."""
    evaluator = Evaluator(build(asked.snapshot), asked.objective)
    start = min(starts(asked), key=evaluator)
    search = search_from(evaluator, start)
    schedule = Schedule(inf, moves, Anneal().acceptance, Anneal().cooling, 1, *way)
    saved = checkpoints(1, len(start) - evaluator.settled, len(evaluator.slots.row))
    rng = np.random.default_rng(seed)
    began = thread_time()
    anneal(evaluator.requests, search, schedule, rng, evaluator.price, evaluator.slots, saved)
    return Found(moves / (thread_time() - began), float(search.costs[0]))


def _measures(size: Size, timings: list[Timing]) -> Iterator[Measure]:
    for drawn in ("backlog", "mix"):
        rows = {
            way: [f for s, d, w, f in timings if (s, d, w) == (str(size), drawn, way)]
            for way in WAYS
        }
        speed = {way: float(np.mean([f.speed for f in found])) for way, found in rows.items()}
        for way, words in WORDS.items():
            gain = speed[way] / speed[FULL]
            figure = f"{gain:.2f} times ({speed[way]:,.0f} against {speed[FULL]:,.0f})"
            name = f"{size}, {drawn}: moves/s against full rollouts, {words}"
            if way == OURS:
                yield Measure(name, figure, f">= {size.bar:g} times", gain >= size.bar)
            else:
                yield Measure(name, figure)
        costs = np.array([[f.cost for f in rows[way]] for way in (FULL, RESUMES)])
        apart = float(np.abs(costs[1] / costs[0] - 1).max())
        name = f"{size}, {drawn}: relative difference of cost, resumed and full rollouts"
        yield Measure(name, f"{apart:.1g}", "<= 1e-09", apart <= 1e-9)


if __name__ == "__main__":
    run(main)
