"""Constructive starts: orders that are good without a search."""

from collections.abc import Iterator

import numpy as np

from slosched.core.protocols import Problem
from slosched.core.snapshot import UNRANKED, Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.kernel import kernel
from slosched_solvers.promoted import promoted_first


def starts(problem: Problem) -> Iterator[IntArray]:
    """Yield every start as a permutation of the snapshot's rows.

    Running requests come first, then those that are promoted.
    """
    snapshot = problem.snapshot
    by_arrival = _by_arrival(snapshot)
    service, slack, hopeless = snapshot.outlook()
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
        yield promoted_first(problem, _order(by_arrival, *keys))
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
    by_due = np.argsort(due, kind="stable")  # rows are in order of serials
    late = _late(by_due, service, due, service / snapshot.limits.max_num_seqs)
    return _order(_by_arrival(snapshot), late, np.where(late, service, due))


@kernel
def _late(by_due: IntArray, service: FloatArray, due: FloatArray, share: FloatArray) -> BoolArray:
    """Choose whom to drop, of jobs that take their share of one machine."""
    late = np.ones(len(due), dtype=np.bool_)
    total = 0.0
    for i in by_due:
        if not np.isfinite(due[i]) or due[i] < service[i]:
            continue
        late[i] = False
        total += share[i]
        if total > due[i] * (1 + 1e-12):
            longest = i
            for j in by_due:
                if not late[j] and share[j] > share[longest]:
                    longest = j
            late[longest] = True
            total -= share[longest]
    return late


def _previous(snapshot: Snapshot) -> IntArray:
    """Rank in the previous plan; who came since goes first, as it is the least likely late."""
    rank: IntArray = snapshot.live["rank"]
    return np.where(rank == UNRANKED, np.iinfo(np.int64).min, rank)


def _by_arrival(snapshot: Snapshot) -> tuple[IntArray, BoolArray]:
    """Rows in order of arrival, and which of these wait."""
    rows = np.lexsort((snapshot.live["serial"], snapshot.arrival))
    return rows, ~snapshot.running[rows]


def _order(
    by_arrival: tuple[IntArray, BoolArray], *keys: FloatArray | IntArray | BoolArray
) -> IntArray:
    """Sort rows by whether they wait, then by keys, then by arrival."""
    rows, waits = by_arrival
    return rows[np.lexsort((*(key[rows] for key in reversed(keys)), waits))]
