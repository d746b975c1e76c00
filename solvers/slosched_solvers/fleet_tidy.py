"""Each of several queues by itself: other orders, and Moore and Hodgson's idea on its rollout."""

from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.anneal_kernel import Search
from slosched_solvers.checkpoints import Checkpoints
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import Price
from slosched_solvers.discard import discard
from slosched_solvers.fleet_queues import Fleet, Queues, Scratch, of_queue, run
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import KINDS


class Workbench(NamedTuple):
    """Memory for the search of one queue; shape (n,) if not said."""

    order: IntArray
    best: IntArray
    position: IntArray
    before: IntArray
    first: FloatArray  # (1, n)
    finish: FloatArray
    trial_first: FloatArray
    trial_finish: FloatArray
    saved: Checkpoints  # for the longest queue


@kernel
def tidy(
    fleet: Fleet,
    queues: Queues,
    places: IntArray,
    turn: IntArray,
    price: Price,
    scratch: Scratch,
    bench: Workbench,
    until: float,
) -> None:
    """Bring queues into better orders, one after the other, as many as there is time for.

    Parameters
    ----------
    queues
        With their costs, which are never more than they were.
    places
        Shape (orders, n): place of each row in some orders to try; of those who may wait.
    turn
        Which queues, in this sequence.
    until
        On the monotonic clock.
    """
    for k in range(len(turn)):
        if until < np.inf and monotonic() >= until:
            return
        r = turn[k]
        if queues.sizes[r] - fleet.settled[r] < 2:
            continue
        _reorder(fleet, queues, r, places, price, scratch)
        _discard(fleet, queues, r, price, scratch, bench, until)


@kernel
def _reorder(
    fleet: Fleet, queues: Queues, r: int, places: IntArray, price: Price, scratch: Scratch
) -> None:
    """Bring a queue into the order that costs least of some."""
    settled, size = fleet.settled[r], queues.sizes[r]
    order = queues.orders[r]
    best = order[settled:size].copy()
    for k in range(len(places)):
        rows = best[np.argsort(places[k][best])]
        if (rows == best).all():
            continue
        order[settled:size] = rows
        cost = run(fleet, queues, r, price, scratch)
        if cost < queues.costs[r]:
            queues.costs[r] = cost
            best = rows
    order[settled:size] = best


@kernel
def _discard(
    fleet: Fleet,
    queues: Queues,
    r: int,
    price: Price,
    scratch: Scratch,
    bench: Workbench,
    until: float,
) -> None:
    """Keep in a queue whom its engine can serve in time, in order of urgency; see `discard`."""
    settled, size = fleet.settled[r], queues.sizes[r]
    cost = run(fleet, queues, r, price, scratch)  # with its times, and its requests by place
    requests = of_queue(fleet, queues, r, scratch)
    bench.first[0, :size], bench.finish[0, :size] = scratch.first[:size], scratch.finish[:size]
    best = bench.best[:size]
    best[:] = scratch.places[:size]
    search = Search(
        bench.order[:size], best, np.array([cost, cost]), np.array([settled, settled]),
        bench.position[:size], bench.before, np.zeros(1, dtype=np.int64), np.zeros(KINDS),
        bench.first, bench.finish, bench.trial_first, bench.trial_finish,
    )  # fmt: skip
    discard(requests, search, price, scratch.slots, bench.saved, until)
    if search.costs[1] < cost:
        kept = queues.orders[r, :size].copy()
        for k in range(size):
            queues.orders[r, k] = kept[best[k]]
        queues.costs[r] = run(fleet, queues, r, price, scratch)
