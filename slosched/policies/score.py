"""A request's rank as a learned ranker scores it."""

import numpy as np

from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray

BUCKET = 10  # output tokens; vllm-ltr trains its ranker on lengths in such buckets


def score(snapshot: Snapshot) -> FloatArray:
    """Score each request once, as it arrives: the shorter its answer, the higher.

    After arXiv 2408.15792, section 4: answers in one bucket are not told apart. The predicted
    length stands in for the ranker's score, which orders alike where both are right.

    Returns
    -------
    Shape (n,): minus the bucket of the length that was predicted at arrival.
    """
    return -np.floor(snapshot.first_guess / BUCKET)
