"""Starts for the queues of several engines: dealt out by work, each in the best of some orders."""

from collections.abc import Iterator

import numpy as np

from slosched.core.fleet import NOWHERE, FleetSnapshot
from slosched.core.snapshot import UNRANKED, Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.fleet_queues import Fleet, Queues, split
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
        rows = np.flatnonzero(snapshot.bound == NOWHERE)
        rows = rows[np.lexsort((snapshot.live["serial"][rows], snapshot.live["arrival"][rows]))]
        live = snapshot.live[rows]
        outlooks = [
            Snapshot(snapshot.now, live, engine.limits, engine.latency).outlook()
            for engine in engines
        ]
        # As the engine has it that suits each best.
        service = np.min([service for service, _, _ in outlooks], axis=0)
        slack = np.max([slack for _, slack, _ in outlooks], axis=0)
        hopeless = np.all([hopeless for _, _, hopeless in outlooks], axis=0)
        kept = np.zeros(len(rows), dtype=np.bool_)
        kept[np.lexsort((slack, hopeless))[:horizon]] = True
        self.searched, self.others = rows[kept], rows[~kept]
        self._live, self._engines = live[kept], len(kind)
        queued = snapshot.queued
        self._queued = None if queued is None else queued[self.searched]
        self._service: FloatArray = service[kept]
        self._slack: FloatArray = slack[kept]
        self._hopeless: BoolArray = hopeless[kept]

    def kept(self) -> tuple[list[IntArray], IntArray] | None:
        """Return who waited for each engine before, in order, and who is new.

        None where there was no plan, or most of those who wait are new.
        """
        if self._queued is None:
            return None
        new = self._queued == NOWHERE
        if 2 * new.sum() > len(new):
            return None
        by_place = np.lexsort((self._live["rank"], self._queued))
        before = split(self.searched[by_place], self._queued[by_place], self._engines)
        return before, self.searched[new]

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
            yield self.searched[np.lexsort(keys[::-1])] if keys else self.searched


@kernel
def deal(
    fleet: Fleet, queues: Queues, sequence: IntArray, work: FloatArray, loads: FloatArray
) -> None:
    """Give each request to the engine that would be done with it first, at the end of its queue.

    Parameters
    ----------
    work
        Shape (k, n), s: what each request takes of each kind of engine.
    loads
        Shape (r,), s: what each has to do already; added to.
    """
    for i in sequence:
        chosen, soonest = 0, np.inf
        for r in range(len(loads)):
            done = loads[r] + work[fleet.kind[r], i] * fleet.pace[r]
            if done < soonest:
                chosen, soonest = r, done
        loads[chosen] = soonest
        queues.orders[chosen, queues.sizes[chosen]] = i
        queues.sizes[chosen] += 1
