"""Who comes is put where it costs least: into the queues as they are, each place rolled out."""

import numpy as np

from slosched.core.types import IntArray
from slosched_solvers.cost import Price
from slosched_solvers.fleet_queues import Fleet, Queues, Scratch, insert, run, take_out
from slosched_solvers.kernel import kernel


@kernel
def enter(
    fleet: Fleet,
    queues: Queues,
    i: int,
    engines: IntArray,
    price: Price,
    scratch: Scratch,
    most: int,
) -> float:
    """Put a request into the queue and the place where it costs least; return what it adds.

    Parameters
    ----------
    queues
        With their costs, NaN where these are not known; changed.
    i
        Row of the request, in no queue.
    engines
        Whose queues are tried.
    most
        Places to try in each queue, evenly over it, and its end.
    """
    least, where, at = np.inf, 0, 0
    for r in engines:
        if np.isnan(queues.costs[r]):
            queues.costs[r] = run(fleet, queues, r, price, scratch)
        low, high = fleet.settled[r], queues.sizes[r]
        step = max((high - low + most - 1) // most, 1)
        for tried in range(most + 1):
            place = min(low + tried * step, high)
            insert(queues, r, place, i)
            added = run(fleet, queues, r, price, scratch) - queues.costs[r]
            take_out(queues, r, place)
            if added < least:
                least, where, at = added, r, place
            if place == high:
                break
    insert(queues, where, at, i)
    queues.costs[where] += least
    return least
