"""Simulated annealing over the queues of several engines, compiled.

After arXiv 2504.14966, section 4.3, with one more choice: on which engine. A move changes the
queues of one or two of them, and only these are rolled out again.
"""

from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.anneal_kernel import LEVELS, SAMPLED, Schedule
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import LATENCY, Price
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import due
from slosched_solvers.requests import BEGUN, SERVICE, Requests
from slosched_solvers.rollout import ABSENT, ALONE, replay
from slosched_solvers.slots import Slots

_IN_TIME = 0.5  # of the insertions that go where the rollout says that there is time left


class Fleet(NamedTuple):
    """The same requests as each of r engines would serve them; see `Requests`."""

    counts: IntArray  # (r, 1, n, COUNTS)
    times: FloatArray  # (r, 1, n, TIMES)
    by_latest: IntArray  # (r, 1, waiting)
    limits: IntArray  # (r, 4)
    latency: FloatArray  # (r, 4)
    settled: IntArray  # (r,): how many are bound to it


class Queues(NamedTuple):
    """Who is at each engine, and in which order: those that are bound to it first."""

    orders: IntArray  # (r, n)
    sizes: IntArray  # (r,)
    costs: FloatArray  # (r,)
    first: FloatArray  # (r, n): as the rollouts have them, s
    finish: FloatArray


class Scratch(NamedTuple):
    """Memory that rollouts use in turn."""

    position: IntArray  # (n,)
    slots: Slots
    saved: Checkpoints  # room for none


@kernel
def run(fleet: Fleet, queues: Queues, r: int, price: Price, scratch: Scratch) -> float:
    """Roll one engine's queue out, and price it."""
    position = scratch.position
    order = queues.orders[r, : queues.sizes[r]]
    position[:] = ABSENT
    for k in range(len(order)):
        position[order[k]] = k
    requests = Requests(
        fleet.counts[r], fleet.times[r], fleet.by_latest[r], fleet.limits[r], fleet.latency[r]
    )
    for i in order:
        queues.first[r, i] = 0.0 if fleet.times[r, 0, i, BEGUN] < np.inf else np.inf
        queues.finish[r, i] = np.inf
    cost = replay(
        requests, 0, order, position, fleet.settled[r], FROM_SCRATCH, ALONE, price,
        queues.first[r], queues.finish[r], scratch.slots, scratch.saved,
    )  # fmt: skip
    # A mean over those who are here, as if they were all.
    return cost * len(order) / len(position) if price.kind == LATENCY else cost


@kernel
def anneal_fleet(
    fleet: Fleet,
    queues: Queues,
    best: Queues,
    schedule: Schedule,
    rng: np.random.Generator,
    price: Price,
    scratch: Scratch,
) -> int:
    """Search from the queues until the schedule ends; return the moves made.

    Parameters
    ----------
    best
        Gets the best queues; a copy to begin with.
    """
    replicas, n = queues.orders.shape
    started = monotonic() if schedule.until < np.inf else 0.0
    limited = schedule.moves < np.iinfo(np.int64).max
    kept = np.empty((2, n), dtype=np.int64)
    sizes = np.empty(2, dtype=np.int64)
    made = worse = 0
    worsened, hottest = 0.0, 1e-12
    best_cost = best.costs.sum()
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
        temperature = hottest * schedule.cooling ** int(LEVELS * progress)
        made += 1
        a, b = int(rng.random() * replicas), int(rng.random() * replicas)
        kept[0], kept[1] = queues.orders[a], queues.orders[b]
        sizes[0], sizes[1] = queues.sizes[a], queues.sizes[b]
        if not _move(fleet, queues, a, b, rng):
            continue
        before = queues.costs[a] + (queues.costs[b] if b != a else 0.0)
        cost_a, cost_b = run(fleet, queues, a, price, scratch), 0.0
        if b != a:
            cost_b = run(fleet, queues, b, price, scratch)
        worsening = cost_a + cost_b - before
        if made <= SAMPLED and worsening > 0.0:
            worse += 1
            worsened += worsening
        # Metropolis et al. (1953): uphill with probability exp(-delta / T).
        hot = made > SAMPLED and worsening <= -temperature * np.log(1.0 - rng.random())
        if worsening < 0.0 or hot:
            queues.costs[a] = cost_a
            if b != a:
                queues.costs[b] = cost_b
            if queues.costs.sum() < best_cost:
                best_cost = queues.costs.sum()
                best.orders[:], best.sizes[:] = queues.orders, queues.sizes
                best.costs[:] = queues.costs
        else:
            queues.orders[a], queues.orders[b] = kept[0], kept[1]
            queues.sizes[a], queues.sizes[b] = sizes[0], sizes[1]
            # The times of the rollout on trial stay: as a guess of where to insert they will do.
    return made


@kernel
def _move(fleet: Fleet, queues: Queues, a: int, b: int, rng: np.random.Generator) -> bool:
    """Change the queues of two engines, or of one twice; False if there is nothing to change."""
    waiting = queues.sizes[a] - fleet.settled[a]
    if waiting == 0:
        return False
    at = fleet.settled[a] + int(rng.random() * waiting)
    others = queues.sizes[b] - fleet.settled[b]
    if a == b:
        if waiting < 2:
            return False
        i = take_out(queues, a, at)
        insert(queues, a, _place(fleet, queues, a, i, rng), i)
        return True
    if others and rng.random() < 0.5:
        other = fleet.settled[b] + int(rng.random() * others)
        queues.orders[a, at], queues.orders[b, other] = (
            queues.orders[b, other],
            queues.orders[a, at],
        )
        return True
    i = take_out(queues, a, at)
    insert(queues, b, _place(fleet, queues, b, i, rng), i)
    return True


@kernel
def _place(fleet: Fleet, queues: Queues, r: int, i: int, rng: np.random.Generator) -> int:
    """Choose a place in a queue: anywhere, or the last from which a request is in time."""
    low, high = fleet.settled[r], queues.sizes[r]
    if rng.random() >= _IN_TIME:
        return low + int(rng.random() * (high - low + 1))
    times, first = fleet.times[r, 0], queues.first[r]
    latest = due(times, i, times[i, SERVICE])
    while low < high:
        middle = (low + high) // 2
        if first[queues.orders[r, middle]] <= latest:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def take_out(queues: Queues, r: int, at: int) -> int:
    """Take out of a queue whoever is at a place, and return who it was."""
    order = queues.orders[r]
    i = order[at]
    queues.sizes[r] -= 1
    for k in range(at, queues.sizes[r]):
        order[k] = order[k + 1]
    return i


@kernel
def insert(queues: Queues, r: int, at: int, i: int) -> None:
    """Put a request into a queue, at a place."""
    order = queues.orders[r]
    for k in range(queues.sizes[r], at, -1):
        order[k] = order[k - 1]
    order[at] = i
    queues.sizes[r] += 1
