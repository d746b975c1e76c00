"""Constructive starts: orders that are good without a search."""

from collections.abc import Iterator
from heapq import heappop, heappush

import numpy as np

from slosched.core.protocols import Problem
from slosched.core.snapshot import UNRANKED, Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.promoted import promoted_first


def starts(problem: Problem) -> Iterator[IntArray]:
    """Yield every start as a permutation of the snapshot's rows.

    Running requests come first, then those that are promoted.
    """
    snapshot = problem.snapshot
    service, slack, hopeless = snapshot.service, snapshot.slack, snapshot.hopeless
    # Who can neither be saved nor lost waits behind those who can.
    undecided = np.isfinite(slack) & ~hopeless
    for keys in (
        (),
        (snapshot.deadline,),
        (hopeless, slack),
        (service,),
        (~undecided, service),
        (~undecided, -snapshot.weight / service),
        (_previous(snapshot),),
    ):
        yield promoted_first(problem, _order(snapshot, *keys))
    yield promoted_first(problem, moore_hodgson(snapshot, service, slack + service))


def moore_hodgson(snapshot: Snapshot, service: FloatArray, due: FloatArray) -> IntArray:
    """Order by due date, but drop to the end what makes the rest late.

    Moore (1968): optimal for one machine and unit weights. With B slots every job is taken to
    need 1/B of its service time, which is exact for B = 1.

    Parameters
    ----------
    service, due
        Shape (n,): seconds each request needs alone, and from now until it must be done.
    """
    share = service / snapshot.limits.max_num_seqs
    late = np.zeros(len(snapshot), dtype=np.bool_)
    accepted: list[tuple[float, int]] = []
    total = 0.0
    for i in np.lexsort((snapshot.live["serial"], due)):
        if not np.isfinite(due[i]) or due[i] < service[i]:
            late[i] = True
            continue
        heappush(accepted, (-share[i], int(i)))
        total += share[i]
        if total > due[i] * (1 + 1e-12):
            longest, dropped = heappop(accepted)
            total += longest
            late[dropped] = True
    return _order(snapshot, late, np.where(late, service, due))


def _previous(snapshot: Snapshot) -> IntArray:
    """Rank in the previous plan; who came since goes first, as it is the least likely late."""
    rank: IntArray = snapshot.live["rank"]
    return np.where(rank == UNRANKED, np.iinfo(np.int64).min, rank)


def _order(snapshot: Snapshot, *keys: FloatArray | IntArray | BoolArray) -> IntArray:
    ties = (snapshot.live["serial"], snapshot.arrival)
    return np.lexsort((*ties, *reversed(keys), ~snapshot.running)).astype(np.int64)
