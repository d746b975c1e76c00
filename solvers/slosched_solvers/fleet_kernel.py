"""Simulated annealing over the queues of several engines, compiled.

After arXiv 2504.14966, section 4.3, with one more choice: on which engine. A move changes the
queues of one or two of them, and only these are rolled out again.
"""

import numpy as np

from slosched.core.types import BoolArray
from slosched_solvers.anneal_kernel import LEVELS, SAMPLED, Schedule
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import Price
from slosched_solvers.fleet_queues import Fleet, Queues, Scratch, insert, run, take_out
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import due
from slosched_solvers.requests import SERVICE

_IN_TIME = 0.5  # of the insertions that go where the rollout says that there is time left


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
    replicas, longest = queues.orders.shape
    started = monotonic() if schedule.until < np.inf else 0.0
    limited = schedule.moves < np.iinfo(np.int64).max
    kept = np.empty((2, longest), dtype=np.int64)
    sizes = np.empty(2, dtype=np.int64)
    differs = np.zeros(replicas, dtype=np.bool_)  # from the best
    made = worse = 0
    worsened, hottest = 0.0, 1e-12
    total = best_cost = best.costs.sum()
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
        sizes[0], sizes[1] = queues.sizes[a], queues.sizes[b]
        kept[0, : sizes[0]] = queues.orders[a, : sizes[0]]
        kept[1, : sizes[1]] = queues.orders[b, : sizes[1]]
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
            total += worsening
            differs[a] = differs[b] = True
            if total < best_cost:
                best_cost = total
                _keep(queues, best, differs)
        else:
            queues.orders[a, : sizes[0]] = kept[0, : sizes[0]]
            queues.orders[b, : sizes[1]] = kept[1, : sizes[1]]
            queues.sizes[a], queues.sizes[b] = sizes[0], sizes[1]
            # The times of the rollout on trial stay: as a guess of where to insert they will do.
    return made


@kernel
def _keep(queues: Queues, best: Queues, differs: BoolArray) -> None:
    """Copy those queues that differ from the best."""
    for r in range(len(differs)):
        if differs[r]:
            size = queues.sizes[r]
            best.orders[r, :size] = queues.orders[r, :size]
            best.sizes[r], best.costs[r] = size, queues.costs[r]
            differs[r] = False


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
    times, first = fleet.times[fleet.kind[r]], queues.first
    latest = due(times, i, times[i, SERVICE])
    while low < high:
        middle = (low + high) // 2
        if first[queues.orders[r, middle]] <= latest:
            low = middle + 1
        else:
            high = middle
    return low
