"""The annealing of arXiv 2504.14966, section 4.3, compiled: three moves between batches."""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.fixed_batches import Jobs, outcome
from slosched_solvers.kernel import inlined, kernel

BRING_FORWARD, DELAY, SWAP = 0, 1, 2


@kernel
def anneal_batches(
    work: Jobs,
    capacity: IntArray,
    batch: IntArray,
    sizes: IntArray,
    held: IntArray,
    best: IntArray,
    gains: FloatArray,
    moves: int,
    temperature: float,
    rng: np.random.Generator,
    ends: FloatArray,
) -> float:
    """Try some moves at one temperature.

    Parameters
    ----------
    work
        The n requests.
    capacity
        Shape (2,): requests and KV tokens that a batch may hold.
    batch, sizes, held
        Shape (n,), changed in place: the batch of each request, and how many requests and KV
        tokens are in each batch.
    best
        Shape (n,), changed in place: the best batches ever seen.
    gains
        Shape (2,), changed in place: G now, and of the best.
    temperature
        In units of G. At infinity nothing is accepted: the moves are only sampled.
    ends
        Shape (n + 1,): scratch memory.

    Returns
    -------
    Mean loss of the sampled moves that made G worse; 0 if none did.
    """
    n = len(batch)
    sampling = temperature == np.inf
    worse, lost = 0, 0.0
    for _ in range(moves):
        kind, i, j = int(rng.random() * 3), int(rng.random() * n), int(rng.random() * n)
        source, target = batch[i], _target(batch, kind, i, j)
        if target in (-1, n, source):
            continue
        swap = kind == SWAP
        _put(work, batch, sizes, held, i, target)
        if swap:
            _put(work, batch, sizes, held, j, source)
        fits = _fits(sizes, held, capacity, target) and _fits(sizes, held, capacity, source)
        met, latencies = outcome(work, batch, sizes, ends)
        value = met / latencies if fits else -np.inf
        if fits and sampling and value < gains[0]:
            worse += 1
            lost += gains[0] - value
        if value > gains[1]:
            gains[1] = value
            best[:] = batch
        # Metropolis et al. (1953): downhill in G with probability exp(difference / T).
        lowest = gains[0] + temperature * np.log(1.0 - rng.random())
        if sampling or not fits or value < lowest:
            _put(work, batch, sizes, held, i, source)
            if swap:
                _put(work, batch, sizes, held, j, target)
            continue
        gains[0] = value
        if sizes[source] == 0:
            _close_gap(batch, sizes, held, source)
    return lost / worse if worse else 0.0


@inlined
def _target(batch: IntArray, kind: int, i: int, j: int) -> int:
    if kind == BRING_FORWARD:
        return batch[i] - 1
    if kind == DELAY:
        return batch[i] + 1
    return batch[j]


@inlined
def _put(work: Jobs, batch: IntArray, sizes: IntArray, held: IntArray, i: int, target: int) -> None:
    sizes[batch[i]] -= 1
    held[batch[i]] -= work.tokens[i]
    batch[i] = target
    sizes[target] += 1
    held[target] += work.tokens[i]


@inlined
def _fits(sizes: IntArray, held: IntArray, capacity: IntArray, k: int) -> bool:
    """Whether a batch keeps to its limits; whoever is alone may fill more than the KV cache."""
    return sizes[k] <= capacity[0] and (held[k] <= capacity[1] or sizes[k] <= 1)


@inlined
def _close_gap(batch: IntArray, sizes: IntArray, held: IntArray, k: int) -> None:
    """Renumber the batches behind an empty one."""
    for i in range(len(batch)):
        batch[i] -= batch[i] > k
    sizes[k:-1] = sizes[k + 1 :].copy()
    held[k:-1] = held[k + 1 :].copy()
    sizes[-1], held[-1] = 0, 0
