"""Moore and Hodgson's idea on the engine's own rollout: a start that is hard to beat.

Moore (1968) takes jobs by due date and, when one is late, drops the longest so far; on one
machine that is optimal. Here the machine is the engine: jobs are taken in the order in which
their first tokens must come, who is late is what the rollout says, and the longest is whoever
takes most of the engine's time.
"""

import numpy as np

from slosched.core.types import IntArray
from slosched_solvers.anneal_kernel import Search, cheaper, place_all
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints, commit, latest
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import Price
from slosched_solvers.kernel import kernel
from slosched_solvers.moves import LATE, due, state
from slosched_solvers.requests import LATEST, REMAINING, TOLL, Requests
from slosched_solvers.rollout import ABSENT, ALONE, replay
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
        On the monotonic clock: from then on, only those are kept who are known to be in time.
    """
    settled, fixed = search.front
    times, first, finish = requests.times[0], search.trial_first[0], search.trial_finish[0]
    order, position = search.order, search.position
    order[:] = search.best
    place_all(search)
    queue = by_due(requests, search)
    queue = queue[(position[queue] >= fixed) & (times[queue, LATEST] >= 0)]
    queue = queue[times[queue, LATEST] < np.inf]
    m = len(queue)
    kept = np.ones(m, dtype=np.bool_)
    position[order[fixed:]] = ABSENT
    saved.filled[:] = False
    begin = FROM_SCRATCH
    longest = helped = m  # of the queue: who was dropped last, and for whom
    while True:
        end = fixed
        for k in range(m):
            position[queue[k]] = end if kept[k] else ABSENT
            if kept[k]:
                order[end] = queue[k]
                end += 1
        replay(
            requests, 0, order[:end], position, settled, begin, ALONE, price, first, finish,
            slots, saved,
        )  # fmt: skip
        late = 0
        while late < m and not (kept[late] and state(times, first, finish, queue[late]) == LATE):
            late += 1
        if late == m or (until < np.inf and monotonic() > until):
            end = fixed + kept[:late].sum()
            break
        if longest < helped and late <= helped:  # in vain: drop the one who is late instead
            changed = longest
            kept[longest], kept[helped] = True, False
            longest = helped = m
        else:
            longest = helped = late
            for k in range(late):
                if kept[k] and times[queue[k], TOLL] > times[queue[longest], TOLL]:
                    longest = k
            changed = longest
            kept[longest] = False
        place = fixed - settled + kept[:changed].sum()
        commit(saved, 0, FROM_SCRATCH, place)
        begin = latest(saved, 0, place)
    chosen = end
    for i in search.best[fixed:]:
        if not fixed <= position[i] < chosen:
            order[end] = i
            end += 1
    if cheaper(requests, search, price, slots, saved):
        search.best[:] = order


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
    dues = np.empty(len(waiting))
    for k, i in enumerate(waiting):
        dues[k] = due(times, i, decodes[i] * took / tokens)
    return waiting[np.argsort(dues)]
