"""Starts for the queues of several engines: dealt out by work, each in the best of some orders."""

from collections.abc import Iterator

import numpy as np

from slosched.core.fleet import NOWHERE, FleetSnapshot
from slosched.core.snapshot import UNRANKED, Snapshot
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.cost import Price
from slosched_solvers.fleet_queues import Fleet, Queues, Scratch, run
from slosched_solvers.kernel import kernel


class Sequences:
    """Sequences to deal out in: see `starts.starts`.

    Attributes
    ----------
    searched
        Rows that wait and are to be searched over.
    others
        Those that wait beyond the horizon, in order of arrival.
    """

    def __init__(self, snapshot: FleetSnapshot, kind: IntArray, horizon: int) -> None:
        _, alike = np.unique(kind, return_index=True)
        engines = [snapshot.engines[r] for r in alike.tolist()]
        live = self._live = snapshot.live
        outlooks = [
            Snapshot(snapshot.now, live, engine.limits, engine.latency).outlook()
            for engine in engines
        ]
        # As the engine has it that suits each best.
        self._service: FloatArray = np.min([service for service, _, _ in outlooks], axis=0)
        self._slack: FloatArray = np.max([slack for _, slack, _ in outlooks], axis=0)
        self._hopeless = np.all([hopeless for _, _, hopeless in outlooks], axis=0)
        waiting = np.flatnonzero(snapshot.bound == NOWHERE)
        arrived = np.lexsort((live["serial"][waiting], live["arrival"][waiting]))
        waiting = waiting[arrived]
        urgent = np.lexsort((self._slack[waiting], self._hopeless[waiting]))[:horizon]
        kept = np.zeros(len(waiting), dtype=np.bool_)
        kept[urgent] = True
        self.searched, self.others = waiting[kept], waiting[~kept]

    def __iter__(self) -> Iterator[IntArray]:
        rank = self._live["rank"]
        before = np.where(rank == UNRANKED, np.iinfo(np.int64).min, rank)
        undecided = np.isfinite(self._slack) & ~self._hopeless
        density = self._live["weight"] / self._service
        for keys in (
            (),
            (self._hopeless, self._slack),
            (~undecided, self._service),
            (~undecided, -density),
            (before,),
        ):
            rows = self.searched
            yield rows[np.lexsort(tuple(key[rows] for key in reversed(keys)))] if keys else rows


@kernel
def deal(
    queues: Queues, sequence: IntArray, kind: IntArray, work: FloatArray, loads: FloatArray
) -> None:
    """Give each request to the engine that would be done with it first, at the end of its queue.

    Parameters
    ----------
    kind
        Shape (r,): of each engine.
    work
        Shape (k, n), s: what each request takes of each kind of engine.
    loads
        Shape (r,), s: what each has to do already; added to.
    """
    for i in sequence:
        chosen = 0
        for r in range(1, len(loads)):
            if loads[r] + work[kind[r], i] < loads[chosen] + work[kind[chosen], i]:
                chosen = r
        loads[chosen] += work[kind[chosen], i]
        queues.orders[chosen, queues.sizes[chosen]] = i
        queues.sizes[chosen] += 1


@kernel
def reorder(fleet: Fleet, queues: Queues, places: IntArray, price: Price, scratch: Scratch) -> None:
    """Bring each queue into the order that costs least of some.

    Parameters
    ----------
    queues
        With their costs.
    places
        Shape (orders, n): place of each row in each order; of who waits in a queue.
    """
    for r in range(len(queues.sizes)):
        settled, size = fleet.settled[r], queues.sizes[r]
        order = queues.orders[r]
        if size - settled < 2:
            continue
        best = order[settled:size].copy()
        for k in range(len(places)):
            rows = best[np.argsort(places[k][best])]
            order[settled:size] = rows
            cost = run(fleet, queues, r, price, scratch)
            if cost < queues.costs[r]:
                queues.costs[r] = cost
                best = rows
        order[settled:size] = best
