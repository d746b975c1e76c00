"""Moore and Hodgson's idea on the engine's own rollout: a start that is hard to beat.

Moore (1968) takes jobs by due date and, when one is late, drops the longest so far; on one
machine that is optimal. Here the machine is the engine: jobs are taken in the order in which
their first tokens must come, who is late is what the rollout says, and the longest is whoever
takes most of the engine's time.
"""

import numpy as np

from slosched.core.types import IntArray
from slosched_solvers.anneal_kernel import Search, place_all, run
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints, commit
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import Price
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import LATE, state
from slosched_solvers.requests import (
    BEGUN,
    FINISH_BY,
    FIRST_BY,
    LATEST,
    REMAINING,
    TOLL,
    Requests,
)  # fmt: skip
from slosched_solvers.slots import Slots


@kernel
def discard(
    requests: Requests,
    search: Search,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
    until: float,
) -> None:
    """Keep whom the engine can serve in time, in order of urgency; the rest follows as it was.

    The best order and its cost in `search` become those found, if that costs less.

    Parameters
    ----------
    until
        On the monotonic clock; inf to go on until nobody who is kept is late.
    """
    fixed, n = search.front[1], len(search.order)
    rest = search.best[fixed:].copy()
    kept = np.zeros(n, dtype=np.bool_)
    urgent = np.empty(n - fixed, dtype=np.int64)  # urgent[:m] is kept
    m = 0
    for i in by_due(requests, search):
        if 0 <= requests.times[0, i, LATEST] < np.inf and search.position[i] >= fixed:
            urgent[m], kept[i] = i, True
            m += 1
    toll = requests.times[0][:, TOLL]
    times, first, finish = requests.times[0], search.trial_first[0], search.trial_finish[0]
    saved.filled[:] = False
    search.order[:fixed] = search.best[:fixed]
    place = FROM_SCRATCH
    while True:
        search.order[fixed : fixed + m] = urgent[:m]
        at = fixed + m
        for i in rest:
            if not kept[i]:
                search.order[at] = i
                at += 1
        place_all(search)
        whole = len(search.order)
        value = run(requests, search, place, whole, whole, np.inf, np.inf, price, slots, saved)
        if value < search.costs[1]:
            search.costs[1] = value
            search.best[:] = search.order
        longest = -1
        late = False
        for k in range(m):
            if longest < 0 or toll[urgent[k]] > toll[urgent[longest]]:
                longest = k
            late = state(times, first, finish, urgent[k]) == LATE
            if late:
                break
        if not late or (until < np.inf and monotonic() > until):
            return
        kept[urgent[longest]] = False
        urgent[longest : m - 1] = urgent[longest + 1 : m].copy()
        m -= 1
        place = fixed + longest - search.front[0]
        for s in range(len(search.begins)):
            commit(saved, s, FROM_SCRATCH, place)


@kernel
def by_due(requests: Requests, search: Search) -> IntArray:
    """Sort the waiting requests by when their first tokens must come.

    A token is taken to need as long as in the order in force, on average.
    """
    times, decodes = requests.times[0], requests.counts[0][:, REMAINING] - 1
    waiting = requests.by_latest[0]
    took, tokens = 0.0, 1
    for i in waiting:
        if search.finish[0, i] < np.inf:
            took += search.finish[0, i] - search.first[0, i]
            tokens += decodes[i]
    due = np.empty(len(waiting))
    for k, i in enumerate(waiting):
        due[k] = times[i, LATEST]
        if times[i, BEGUN] == np.inf:
            due[k] = min(times[i, FIRST_BY], times[i, FINISH_BY] - decodes[i] * took / tokens)
    return waiting[np.argsort(due)]
