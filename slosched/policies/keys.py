"""Sorting a snapshot by keys, the way all simple policies do."""

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray, IntArray


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
