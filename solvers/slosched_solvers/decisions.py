"""What a plan decides beyond the order: who loses its slot, and how much of the engine to use.

Each is tried on the best order that was found, and kept if the plan is better by it. The rollout
charges a preempted request its whole prefill again, so a plan that is still better has paid for
it; and it knows what an empty slot or a short step costs whoever waits.
"""

import numpy as np

from slosched.core.types import BoolArray, IntArray
from slosched_solvers.anneal_kernel import Search, cheaper
from slosched_solvers.checkpoints import Checkpoints
from slosched_solvers.clock import monotonic
from slosched_solvers.cost import Price
from slosched_solvers.kernel import kernel
from slosched_solvers.requests import CONTEXT, PREFILL, REMAINING, Requests
from slosched_solvers.slots import Slots

SEQUENCES, TOKENS = 0, 1  # of Instance.limits


@kernel
def preempt(
    requests: Requests,
    search: Search,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
    keeps: BoolArray,
    until: float,
    tries: int,
) -> int:
    """Take the slot from the running request whose going helps most at once; -1 if none's does.

    The requests, and the best order and its cost, become those without it. Who has most to say
    is tried first.

    Parameters
    ----------
    keeps
        Shape (n,): who must not lose its slot.
    until
        On the monotonic clock.
    tries
        Requests to try at most.
    """
    best = search.best
    candidates = best[: search.front[0]].copy()
    candidates = candidates[
        np.argsort(-requests.counts[0][candidates, REMAINING], kind="mergesort")
    ]
    for i in candidates:
        if tries == 0 or (until < np.inf and monotonic() > until):
            break
        if requests.counts[0, i, PREFILL] > 0 or keeps[i]:
            continue
        tries -= 1
        held = requests.counts[0, i, CONTEXT]
        requests.counts[:, i, PREFILL], requests.counts[:, i, CONTEXT] = held + 1, 0
        search.order[:-1] = best[best != i]
        search.order[-1] = i
        search.front[:] -= 1
        if cheaper(requests, search, price, slots, saved):
            best[:] = search.order
            return i
        search.front[:] += 1
        requests.counts[:, i, PREFILL], requests.counts[:, i, CONTEXT] = 0, held
    return -1


@kernel
def restrain(
    requests: Requests,
    search: Search,
    price: Price,
    slots: Slots,
    saved: Checkpoints,
    limit: int,
    values: IntArray,
) -> None:
    """Lower a limit of the engine to the value that makes the best order's plan cheapest."""
    usual = requests.limits[limit]
    for value in values:
        requests.limits[limit] = value
        search.order[:] = search.best
        if cheaper(requests, search, price, slots, saved):
            usual = value
    requests.limits[limit] = usual
