"""What it is worth that a move resumes a rollout, and that a rollout stops when it is lost."""

from collections.abc import Iterator
from math import log
from time import perf_counter
from typing import Annotated, NamedTuple

import numpy as np
import typer
from captured import captured
from common import Json, Measure, Quick, Seed, finish, run, track
from instances import backlog, problem
from mix import Mix, Traces
from numba import njit

from slosched.core.protocols import Problem
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.anneal import Anneal
from slosched_solvers.anneal_kernel import LEVELS, SAMPLED, Search, accept, choose, place_all
from slosched_solvers.anneal_kernel import run as price_trial
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints, checkpoints
from slosched_solvers.cost import Price
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.instance import build
from slosched_solvers.moves import KINDS, move
from slosched_solvers.requests import LATEST, Requests
from slosched_solvers.slots import Slots
from slosched_solvers.starts import starts

MEMORY = 0.98
ACCEPTANCE, COOLING = Anneal().acceptance, Anneal().cooling


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
FULL, STOPS = Way(), Way(stops=True)
RESUMES, BOTH = Way(resumes=True), Way(resumes=True, stops=True)
OURS = Way(resumes=True, stops=True, guesses=True)
EXACT = (FULL, RESUMES, STOPS, BOTH)  # these accept the same moves


class Found(NamedTuple):
    """What a search came to.

    Parameters
    ----------
    speed
        Orders tried a second.
    cost
        Of the order at its end.
    accepted
        Share of the orders.
    place
        Where the first changed request stood on average, as a share of those that wait: so much
        of a rollout can be resumed at most.
    """

    speed: float
    cost: float
    accepted: float
    place: float


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

    One loop, with the annealer's own moves, temperatures and rollout, runs in four ways. Given a
    seed all four try the same orders and accept the same, so they must end at the same cost. The
    fifth way is the solver's own: it also stops rollouts that seem to be lost.
    """
    sizes = SIZES
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
    for way in (*EXACT, OURS):
        _search(asked, 1, way, seed)  # compiles
        yield way, _search(asked, moves, way, seed)


def _search(asked: Problem, moves: int, way: Way, seed: int) -> Found:
    """Anneal from the best start."""
    evaluator = Evaluator(build(asked.snapshot), asked.objective)
    start = min(starts(asked), key=evaluator)
    rng = np.random.default_rng(seed)
    hottest = _hottest(evaluator, start, rng)
    search, saved = _prepared(evaluator, start)
    began = perf_counter()
    accepted, places = _anneal(
        evaluator.requests, search, moves, hottest, rng, evaluator.price, evaluator.slots, saved,
        *way,
    )  # fmt: skip
    speed = moves / (perf_counter() - began)
    waiting = len(start) - evaluator.settled
    return Found(speed, float(search.costs[0]), accepted / moves, places / moves / waiting)


def _hottest(evaluator: Evaluator, start: IntArray, rng: np.random.Generator) -> float:
    """Temperature that accepts the average worsening swap as often as the annealer's first."""
    cost, worsened = evaluator(start), []
    for _ in range(SAMPLED):
        i, j = rng.integers(evaluator.settled, len(start), 2)
        order = start.copy()
        order[i], order[j] = order[j], order[i]
        worsened.append(evaluator(order) - cost)
    worse = [increase for increase in worsened if increase > 0]
    return float(np.mean(worse)) / -log(ACCEPTANCE) if worse else 1e-12


def _prepared(evaluator: Evaluator, start: IntArray) -> tuple[Search, Checkpoints]:
    n, settled = len(start), evaluator.settled
    cost = evaluator(start)
    search = Search(
        order=start.copy(),
        best=start.copy(),
        costs=np.full(2, cost),
        front=np.array([settled, settled]),
        position=np.empty(n, dtype=np.int64),
        before=np.empty(n, dtype=np.int64),
        late=np.zeros(n, dtype=np.int64),
        pays=np.full(KINDS, 0.02),
        first=evaluator.first.copy(),
        finish=evaluator.finish.copy(),
        trial_first=evaluator.first.copy(),
        trial_finish=evaluator.finish.copy(),
    )
    return search, checkpoints(1, n - settled, len(evaluator.slots.row))


@njit(nogil=True)
def _anneal(
    requests: Requests,
    search: Search,
    moves: int,
    hottest: float,
    rng: np.random.Generator,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
    resumes: bool,
    stops: bool,
    guesses: bool,
) -> tuple[int, int]:
    """Anneal as the solver does; count the accepted moves, and sum up the changed places."""
    order, before, position, costs = search.order, search.before, search.position, search.costs
    pays: FloatArray = search.pays
    settled, fixed = search.front
    place_all(search)
    price_trial(
        requests, search, FROM_SCRATCH, resumes, np.inf, 0, np.inf, price, slots, saved
    )  # fmt: skip
    accept(requests, search)
    made = accepted = places = 0
    while made < moves:
        temperature = hottest * COOLING ** (LEVELS * made / moves)
        kind = choose(pays, rng)
        low, high = move(
            kind, order, before, fixed, requests.limits[0], search.late, search.first[0],
            requests.times[0, :, LATEST], rng,
        )  # fmt: skip
        if low < 0:
            pays[kind] *= MEMORY
            continue
        made += 1
        places += low - settled
        for k in range(low, high + 1):
            position[order[k]] = k
        limit = costs[0] - temperature * np.log(1.0 - rng.random())
        place = low - settled if resumes else FROM_SCRATCH
        value = price_trial(
            requests, search, place, False, limit if stops else np.inf, high + 1 - settled,
            limit - costs[0] if guesses else np.inf, price, slots, saved,
        )  # fmt: skip
        pays[kind] = MEMORY * pays[kind] + (1.0 - MEMORY) * max(costs[0] - value, 0.0)
        if value <= limit:
            accepted += 1
            costs[0] = value
            if resumes:  # once more, for its checkpoints
                price_trial(
                    requests, search, place, True, np.inf, 0, np.inf, price, slots, saved
                )  # fmt: skip
            accept(requests, search)
            continue
        order[low : high + 1] = before[low : high + 1]
        for k in range(low, high + 1):
            position[order[k]] = k
        search.trial_first[:] = search.first
        search.trial_finish[:] = search.finish
    return accepted, places


def _measures(size: Size, timings: list[Timing]) -> Iterator[Measure]:
    for drawn in ("backlog", "mix"):
        rows = {
            way: [f for s, d, w, f in timings if (s, d, w) == (str(size), drawn, way)]
            for way in (*EXACT, OURS)
        }
        speed = {way: float(np.mean([f.speed for f in found])) for way, found in rows.items()}
        for fast, slow, words in (
            (RESUMES, FULL, "with checkpoints against full rollouts"),
            (BOTH, STOPS, "with checkpoints against without, lost rollouts stop"),
        ):
            gain = speed[fast] / speed[slow]
            figure = f"{gain:.2f} times ({speed[fast]:,.0f} against {speed[slow]:,.0f})"
            name = f"{size}, {drawn}: moves/s {words}"
            yield Measure(name, figure, f">= {size.bar:g} times", gain >= size.bar)
        ours = f"{speed[OURS] / speed[FULL]:.2f} times ({speed[OURS]:,.0f})"
        yield Measure(f"{size}, {drawn}: moves/s of the solver's way against full rollouts", ours)
        full = rows[FULL]
        shares = (
            f"{np.mean([f.accepted for f in full]):.2f}, {np.mean([f.place for f in full]):.2f}"
        )
        yield Measure(f"{size}, {drawn}: share of moves accepted, mean place of a change", shares)
        costs = np.array([[f.cost for f in rows[way]] for way in EXACT])
        apart = float(np.abs(costs / costs[0] - 1).max())
        name = f"{size}, {drawn}: relative difference of the four costs at the end"
        yield Measure(name, f"{apart:.1g}", "<= 1e-09", apart <= 1e-9)


if __name__ == "__main__":
    run(main)
