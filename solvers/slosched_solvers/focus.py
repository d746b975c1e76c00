"""What a solver need not look at: those who are late whatever is done, but for a few."""

from dataclasses import replace

import numpy as np

from slosched.core.protocols import Problem, Solution
from slosched.core.types import IntArray

KEPT = 128  # late requests that may fill slots which nobody else wants


def focus(problem: Problem) -> tuple[Problem, IntArray, IntArray] | None:
    """Leave out who waits and is late whatever is done, but for the shortest of these.

    Under overload they are thousands: the order of those behind the first hundred costs as much
    time as the search for all others, and decides nothing until many plans later.

    Returns
    -------
    The problem that is left, the rows of the snapshot that it is about, and the others in order
    of arrival; None where nobody is to be left out.
    """
    if problem.complete or problem.objective.kind != "attainment":
        return None
    snapshot = problem.snapshot
    service, _, hopeless = snapshot.outlook()
    late = hopeless & ~snapshot.running
    late[problem.promoted] = False
    if late.sum() <= 2 * KEPT:
        return None
    rows = np.flatnonzero(late)
    late[rows[np.argpartition(service[rows], KEPT)[:KEPT]]] = False
    kept, others = np.flatnonzero(~late), np.flatnonzero(late)
    left = replace(
        problem,
        snapshot=replace(snapshot, live=snapshot.live[kept]),
        promoted=np.searchsorted(kept, problem.promoted),
    )
    return left, kept, others


def widen(found: Solution, kept: IntArray, others: IntArray) -> Solution:
    """Return a solution for all, with the others last; nothing is said of when they are served."""
    n = len(kept) + len(others)
    first, finish = np.full(n, np.inf), np.full(n, np.inf)
    first[kept], finish[kept] = found.first, found.finish
    return replace(
        found,
        order=np.concatenate((kept[found.order], others)),
        preempt=kept[found.preempt],
        first=first,
        finish=finish,
    )
