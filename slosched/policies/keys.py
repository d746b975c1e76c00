"""Sorting a snapshot by keys, the way all simple policies do."""

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray


def by(snapshot: Snapshot, *keys: FloatArray | IntArray) -> Plan:
    """Plan by ascending keys, the first one first; every tie ends in arrival, then serial.

    Parameters
    ----------
    snapshot
        The live requests.
    keys
        Arrays of shape (n,).
    """
    ties = (snapshot.live["serial"], snapshot.arrival)
    return Plan(np.lexsort((*ties, *reversed(keys))).astype(np.int64))


def out_of_batch(snapshot: Snapshot, order: IntArray) -> BoolArray:
    """Who runs, though it is not among the first of an order that have slots; shape (n,)."""
    running = snapshot.running.copy()
    running[order[: snapshot.limits.max_num_seqs]] = False
    return running
