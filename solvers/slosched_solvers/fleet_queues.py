"""The queues of several engines as kernels have them, and what comes of one of them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints
from slosched_solvers.cost import LATENCY, Price
from slosched_solvers.kernel import kernel
from slosched_solvers.requests import BEGUN, COUNTS, LATEST, PLACE, TIMES, Requests
from slosched_solvers.rollout import ALONE, replay
from slosched_solvers.slots import Slots

_FEW = 48  # that are sorted by insertion


class Fleet(NamedTuple):
    """The same requests as each of r engines would serve them; see `Requests`.

    Engines that are about as fast are of a kind, and share what is known of requests beforehand.
    """

    counts: IntArray  # (k, n, COUNTS)
    times: FloatArray  # (k, n, TIMES)
    kind: IntArray  # (r,)
    pace: FloatArray  # (r,): how many times as long steps take as those of the kind's fastest
    limits: IntArray  # (r, 4)
    latency: FloatArray  # (r, 4)
    settled: IntArray  # (r,): how many are bound to it


class Queues(NamedTuple):
    """Who is at each engine, and in which order: those that are bound to it first."""

    orders: IntArray  # (r, longest)
    sizes: IntArray  # (r,)
    costs: FloatArray  # (r,)
    first: FloatArray  # (n,): as the rollouts have them, s
    finish: FloatArray


class Scratch(NamedTuple):
    """Memory that rollouts use in turn: the requests of one queue, by their places in it."""

    counts: IntArray  # (1, n, COUNTS)
    times: FloatArray  # (1, n, TIMES)
    places: IntArray  # (n,): 0, 1, 2 and so on
    by_latest: IntArray  # (n,)
    first: FloatArray
    finish: FloatArray
    slots: Slots
    saved: Checkpoints  # room for none


def split(rows: IntArray, at: IntArray, engines: int) -> list[IntArray]:
    """Return the rows of each engine, of rows in ascending order of the engines that they are at.

    Those that are at none, `NOWHERE`, come first and are left out.
    """
    ends = np.searchsorted(at, np.arange(engines + 1))
    return [rows[low:high] for low, high in pairwise(ends)]


@kernel
def begin(orders: IntArray, bound: IntArray) -> None:
    """Put those that are bound to each engine into its queue, in the order of their rows."""
    sizes = np.zeros(len(orders), dtype=np.int64)
    for i in range(len(bound)):
        if bound[i] >= 0:
            orders[bound[i], sizes[bound[i]]] = i
            sizes[bound[i]] += 1


@kernel
def copied(queues: Queues) -> Queues:
    """Copy queues as far as they are filled: most of their room never is."""
    orders = np.zeros(queues.orders.shape, dtype=np.int64)
    for r in range(len(orders)):
        orders[r, : queues.sizes[r]] = queues.orders[r, : queues.sizes[r]]
    return Queues(
        orders, queues.sizes.copy(), queues.costs.copy(), queues.first.copy(), queues.finish.copy()
    )


@kernel
def run(fleet: Fleet, queues: Queues, r: int, price: Price, scratch: Scratch) -> float:
    """Roll one engine's queue out, and price it."""
    size, settled = queues.sizes[r], fleet.settled[r]
    order = queues.orders[r]
    _gather(fleet, order, size, fleet.kind[r], scratch)
    urgent = scratch.by_latest
    _sort(scratch.times[0], settled, size, urgent)
    for k in range(size - settled):
        scratch.counts[0, urgent[k], PLACE] = k
    requests = of_queue(fleet, queues, r, scratch)
    cost = replay(
        requests, 0, scratch.places[:size], scratch.places, settled, FROM_SCRATCH, ALONE, price,
        scratch.first, scratch.finish, scratch.slots, scratch.saved,
    )  # fmt: skip
    for k in range(size):
        queues.first[order[k]], queues.finish[order[k]] = scratch.first[k], scratch.finish[k]
    # A mean over those who are here, as if they were all.
    return cost * size / len(scratch.places) if price.kind == LATENCY else cost


@kernel
def of_queue(fleet: Fleet, queues: Queues, r: int, scratch: Scratch) -> Requests:
    """Return the requests of the queue that was rolled out last, by their places in it."""
    waiting = queues.sizes[r] - fleet.settled[r]
    return Requests(
        scratch.counts, scratch.times, scratch.by_latest[:waiting].reshape((1, waiting)),
        fleet.limits[r], fleet.latency[r],
    )  # fmt: skip


@kernel
def _gather(fleet: Fleet, order: IntArray, size: int, kind: int, scratch: Scratch) -> None:
    """Put what is known of the requests of one queue side by side: rollouts stay in the cache."""
    counts, times = scratch.counts[0], scratch.times[0]
    all_counts, all_times = fleet.counts[kind], fleet.times[kind]
    for k in range(size):
        i = order[k]
        for field in range(COUNTS):
            counts[k, field] = all_counts[i, field]
        for field in range(TIMES):
            times[k, field] = all_times[i, field]
        scratch.first[k] = 0.0 if times[k, BEGUN] < np.inf else np.inf
        scratch.finish[k] = np.inf


@kernel
def _sort(times: FloatArray, low: int, high: int, urgent: IntArray) -> None:
    """Sort places of a queue by who must begin first."""
    if high - low > _FEW:
        urgent[: high - low] = low + np.argsort(times[low:high, LATEST])
        return
    for place in range(low, high):
        at = place - low
        while at > 0 and times[urgent[at - 1], LATEST] > times[place, LATEST]:
            urgent[at] = urgent[at - 1]
            at -= 1
        urgent[at] = place


@kernel
def run_all(fleet: Fleet, queues: Queues, price: Price, scratch: Scratch) -> float:
    """Roll all queues out, and note their costs; return the sum."""
    total = 0.0
    for r in range(len(queues.sizes)):
        queues.costs[r] = run(fleet, queues, r, price, scratch)
        total += queues.costs[r]
    return total


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
