"""Simulated annealing over orders, compiled; after arXiv 2504.14966, section 4.3."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints, commit, latest
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import G, Price
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import KINDS, LATE, LONGEST_BLOCK, ON_TIME, SWAP, due, move, state
from slosched_solvers.requests import LATEST, WEIGHT, Requests
from slosched_solvers.rollout import ALONE, Trial, replay
from slosched_solvers.slots import Slots

SAMPLED = 32  # moves to find the first temperature
NOWHERE = -1  # no place of the order on trial is shared with the one in force
LEVELS = 100  # temperatures, each `cooling` times the one before
_SHARE = 0.02  # of the moves that every kind gets at least
_MEMORY = 0.995  # of what a kind of move has paid so far


class Schedule(NamedTuple):
    """How long to search, and how boldly."""

    until: float  # on the monotonic clock; inf if only moves count
    moves: int  # at most
    acceptance: float
    cooling: float
    restarts: int
    resumes: bool = True  # from checkpoints, or each rollout from scratch
    stops: bool = True  # as soon as a rollout is lost, or never
    guesses: bool = True  # that one which fell behind is lost


class Search(NamedTuple):
    """The orders and the scratch memory of one search; shape (n,) if not said."""

    order: IntArray  # the current one, running requests first
    best: IntArray
    costs: FloatArray  # (2,): of the two
    front: IntArray  # (2,): how many run, and how many at the front never move
    position: IntArray  # of each row in `order`
    before: IntArray
    begins: IntArray  # (scenarios,): checkpoints at which the order on trial began
    pays: FloatArray  # (KINDS,): what each kind of move paid lately
    first: FloatArray  # (scenarios, n): of the current order
    finish: FloatArray
    trial_first: FloatArray  # (scenarios, n): of the one on trial
    trial_finish: FloatArray


@kernel
def anneal(
    requests: Requests,
    search: Search,
    schedule: Schedule,
    rng: np.random.Generator,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
) -> int:
    """Search from the best order of `search` until the schedule ends; return the moves made.

    The best order and its cost are in `search` at any moment.
    """
    order, best, costs = search.order, search.best, search.costs
    settled, fixed = search.front
    batch = max(requests.limits[0], 1)
    pays, position, before = search.pays, search.position, search.before
    started = monotonic() if schedule.until < np.inf else 0.0
    limited = schedule.moves < np.iinfo(np.int64).max
    made = worse = 0
    worsened = temperature = 0.0
    restart = level = -1
    cooler = 1.0
    while made < schedule.moves:
        progress = made / schedule.moves if limited else 0.0
        if schedule.until < np.inf:
            now = monotonic()
            if now >= schedule.until:
                break
            progress = max(progress, (now - started) / (schedule.until - started))
        # Ben-Ameur (2004): start where an average worsening is accepted with this probability.
        if made <= SAMPLED:
            mean = worsened / worse if worse else 0.0
            hottest = max(mean / -np.log(schedule.acceptance), 1e-12)
        if int(progress * schedule.restarts) > restart:
            restart = int(progress * schedule.restarts)
            order[:] = best
            place_all(search)
            saved.filled[:] = False
            run(requests, search, FROM_SCRATCH, ALONE, price, slots, saved)
            accept(search, saved, FROM_SCRATCH)
            costs[0] = costs[1]
        sampling = made < SAMPLED
        cooled = int(LEVELS * (progress * schedule.restarts - restart))
        if cooled != level:
            level, cooler = cooled, schedule.cooling**cooled
        temperature = hottest * cooler
        made += 1
        kind = choose(pays, rng) if not sampling else SWAP
        low, high = move(
            kind, order, before, fixed, batch, requests.times[0], search.first[0],
            search.finish[0], rng,
        )  # fmt: skip
        if low < 0:
            pays[kind] *= _MEMORY
            continue
        promised, given, until = foreseen(requests, search, low, high)
        for k in range(low, high + 1):
            position[order[k]] = k
        # Metropolis et al. (1953): uphill with probability exp(-delta / T), drawn beforehand, so
        # that a rollout can stop as soon as it costs more than would be accepted.
        limit = costs[0] - temperature * np.log(1.0 - rng.random())
        unlimited = sampling or price.kind == G
        trial = Trial(
            low - settled,
            limit if schedule.stops and not unlimited else np.inf,
            limit - costs[0] if schedule.guesses and not unlimited else np.inf,
            promised,
            given,
            until,
        )
        place = low - settled if schedule.resumes else FROM_SCRATCH
        value = run(requests, search, place, trial, price, slots, saved)
        if sampling and value > costs[0]:
            worse += 1
            worsened += value - costs[0]
        gain = max(costs[0] - value, 0.0)
        pays[kind] = _MEMORY * pays[kind] + (1.0 - _MEMORY) * gain
        if gain > 0.0 or (value <= limit and not sampling):
            costs[0] = value
            accept(search, saved, low - settled)
            if value < costs[1]:
                costs[1] = value
                best[:] = order
        else:
            order[low : high + 1] = before[low : high + 1]
            for k in range(low, high + 1):
                position[order[k]] = k
            search.trial_first[:] = search.first
            search.trial_finish[:] = search.finish
    return made


@kernel
def choose(pays: FloatArray, rng: np.random.Generator) -> int:
    """Draw a kind of move in proportion to what each paid lately, but none never."""
    total = pays.sum() + 1e-12
    drawn = rng.random()
    for kind in range(KINDS):
        drawn -= _SHARE + (1.0 - KINDS * _SHARE) * (pays[kind] + 1e-12 / KINDS) / total
        if drawn < 0.0:
            return kind
    return SWAP


@kernel
def foreseen(requests: Requests, search: Search, low: int, high: int) -> tuple[float, float, float]:
    """Foresee what a move in a stretch does to those whom it takes far.

    They are taken to have their first tokens when those had them who stood where they stand now.

    Returns
    -------
    promised, given
        Weights of those who come to be on time by it, and of those who come to be late.
    until
        When the first of the latter is too late to begin, s.
    """
    promised = given = 0.0
    until = np.inf
    times, first, finish = requests.times[0], search.first[0], search.finish[0]
    for k in range(low, high + 1):
        i = search.order[k]
        forward = search.position[i] - k
        if abs(forward) <= LONGEST_BLOCK:
            continue
        in_time = first[search.before[k]] <= due(times, i, finish[i] - first[i])
        was = state(times, first, finish, i)
        if forward > 0 and was == LATE and in_time:
            promised += times[i, WEIGHT]
        elif forward < 0 and was == ON_TIME and not in_time:
            given += times[i, WEIGHT]
            until = min(until, times[i, LATEST])
    return promised, given, until


@kernel
def run(
    requests: Requests,
    search: Search,
    place: int,
    trial: Trial,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
) -> float:
    """Price the order on trial, which differs from the current one from a waiting place on.

    Returns
    -------
    Its mean cost over the scenarios, or infinity if that exceeds the limit.
    """
    scenarios = len(requests.counts)
    shared, limit, allowed, promised, given, until = trial
    total = 0.0
    for s in range(scenarios):
        begin = latest(saved, s, place) if place >= 0 else FROM_SCRATCH
        search.begins[s] = begin
        total += replay(
            requests, s, search.order, search.position, search.front[0], begin,
            Trial(
                shared, limit * scenarios - total, allowed * scenarios, promised, given, until
            ),
            price, search.trial_first[s], search.trial_finish[s], slots, saved,
        )  # fmt: skip
        if total == np.inf:
            return np.inf
    return total / scenarios


@kernel
def cheaper(
    requests: Requests,
    search: Search,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
) -> bool:
    """Price the order on trial; whether it costs less than the best, which is then its cost."""
    place_all(search)
    limit = np.inf if price.kind == G else search.costs[1]
    saved.filled[:] = False
    trial = Trial(NOWHERE, limit, np.inf, 0.0, 0.0, 0.0)
    value = run(requests, search, FROM_SCRATCH, trial, price, slots, saved)
    if value >= search.costs[1]:
        return False
    search.costs[1] = value
    return True


@kernel
def accept(search: Search, saved: Checkpoints, place: int) -> None:
    """Put the order on trial in force, which differs from a waiting place on."""
    search.first[:], search.finish[:] = search.trial_first, search.trial_finish
    for s in range(len(search.begins)):
        commit(saved, s, search.begins[s], place)


@kernel
def place_all(search: Search) -> None:
    """Note the position of each row in the order on trial."""
    for k in range(len(search.order)):
        search.position[search.order[k]] = k
