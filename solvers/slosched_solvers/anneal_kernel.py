"""Simulated annealing over orders, compiled; after arXiv 2504.14966, section 4.3."""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import Checkpoints, commit, latest
from slosched_solvers.cost import G
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import kernel
from slosched_solvers.rollout import replay


@kernel
def move(order: IntArray, i: int, j: int, swap: bool) -> None:
    """Swap the requests at i and j, or take the one at i out and put it in at j."""
    moved = order[i]
    if swap:
        order[i] = order[j]
    elif i < j:
        order[i:j] = order[i + 1 : j + 1].copy()
    else:
        order[j + 1 : i + 1] = order[j:i].copy()
    order[j] = moved


@kernel
def anneal_moves(
    instance: Instance,
    order: IntArray,
    best: IntArray,
    costs: FloatArray,
    moves: int,
    temperature: float,
    rng: np.random.Generator,
    kind: int,
    weights: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    work: IntArray,
    saved: Checkpoints,
) -> float:
    """Try some moves of waiting requests at one temperature.

    Parameters
    ----------
    order, best
        Shape (n,), changed in place: the current order, running requests first, and the best
        one ever seen.
    costs
        Shape (2,), changed in place: the costs of the two.
    temperature
        In units of cost. At infinity nothing is accepted: the moves are only sampled.
    saved
        Checkpoints of the current order.

    Returns
    -------
    Mean cost increase of the sampled moves that made the order worse; 0 if none did.
    """
    settled = 0
    while settled < len(order) and instance.running[order[settled]]:
        settled += 1
    span = len(order) - settled
    sampling = temperature == np.inf
    worse, worsened = 0, 0.0
    for _ in range(moves):
        i = settled + int(rng.random() * span)
        j = settled + int(rng.random() * (span - 1))
        j += j >= i  # any other place
        swap = rng.random() < 0.5
        # Metropolis et al. (1953): uphill with probability exp(-delta / T), drawn beforehand, so
        # that a rollout can stop as soon as it costs more than would be accepted.
        limit = costs[0] - temperature * np.log(1.0 - rng.random())
        move(order, i, j, swap)
        begin = latest(saved, min(i, j) - settled)
        value = replay(
            instance, order, begin, not sampling, np.inf if kind == G else limit, kind, weights,
            first, finish, work, saved,
        )  # fmt: skip
        if value < costs[1]:
            costs[1] = value
            best[:] = order
        if sampling and value > costs[0]:
            worse += 1
            worsened += value - costs[0]
        if sampling or value > limit:
            move(order, j, i, swap)
            continue
        costs[0] = value
        commit(saved, begin)
    return worsened / worse if worse else 0.0
