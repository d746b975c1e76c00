"""Simulated annealing over orders, compiled; after arXiv 2504.14966, section 4.3."""

import numpy as np
from numba import njit

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.cost import cost
from slosched_solvers.instance import Instance
from slosched_solvers.rollout import rollout


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def anneal_moves(
    instance: Instance,
    order: IntArray,
    best: IntArray,
    costs: FloatArray,
    settled: int,
    moves: int,
    temperature: float,
    rng: np.random.Generator,
    kind: int,
    weights: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    work: IntArray,
) -> float:
    """Try some moves at one temperature.

    Parameters
    ----------
    order, best
        Shape (n,), changed in place: the current order, and the best one ever seen.
    costs
        Shape (2,), changed in place: the costs of the two.
    settled
        The first so many positions stay as they are: requests that run.
    temperature
        In units of cost. At infinity nothing is accepted: the moves are only sampled.

    Returns
    -------
    Mean cost increase of the moves that made the order worse; 0 if none did.
    """
    span = len(order) - settled
    worse, worsened = 0, 0.0
    for _ in range(moves):
        i = settled + int(rng.random() * span)
        j = settled + int(rng.random() * (span - 1))
        j += j >= i  # any other position
        swap = rng.random() < 0.5
        move(order, i, j, swap)
        rollout(instance, order, first, finish, work)
        value = cost(instance, first, finish, kind, weights)
        delta = value - costs[0]
        if delta > 0.0:
            worse += 1
            worsened += delta
        sampling = temperature == np.inf
        # Metropolis et al. (1953): always downhill, uphill with probability exp(-delta / T).
        if not sampling and (delta <= 0.0 or rng.random() < np.exp(-delta / temperature)):
            costs[0] = value
        else:
            move(order, j, i, swap)
        if value < costs[1]:
            costs[1] = value
            best[:] = order
            if costs[0] != value:  # sampled only: the order went back, the best must not
                move(best, i, j, swap)
    return worsened / worse if worse else 0.0
