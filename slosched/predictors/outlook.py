"""What a model says of a length, held against experience, as the thirds that plans reckon with."""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched.predictors.calibration import LEVELS
from slosched.predictors.history import BEYOND
from slosched.predictors.sketch import BINS, CENTRES, RATIO
from slosched.predictors.thirds import left_to_say

_STEPS = np.diff(np.concatenate(([0.0], LEVELS, [1.0])))
_LOG_EDGES: FloatArray = (np.arange(BINS - 1) + 0.5) * np.log(RATIO)
_TAIL = np.log(2.0)  # from the outermost quantiles to the least and the most there is


def likely(quantiles: FloatArray) -> FloatArray:
    """How likely each of `CENTRES` is as the tokens to come, shape (n, BINS), rows adding up to 1.

    Parameters
    ----------
    quantiles
        Shape (n, levels): tokens to come at each of `LEVELS`, ascending.
    """
    logs = np.log(quantiles)
    knots = np.hstack((logs[:, :1] - _TAIL, logs, logs[:, -1:] + _TAIL))
    gaps = np.maximum(np.diff(knots, axis=1), 1e-6)
    below = np.ones((len(quantiles), BINS + 1))
    below[:, 0] = 0.0
    passed = (_LOG_EDGES[None, :, None] - knots[:, None, :-1]) / gaps[:, None, :]
    below[:, 1:-1] = np.clip(passed, 0.0, 1.0) @ _STEPS
    made: FloatArray = np.diff(below, axis=1)
    return made


def weighed(shares: FloatArray, at: IntArray, lengths: FloatArray, usual: FloatArray) -> FloatArray:
    """Hold what a text says against what is known of its class, by Bayes.

    As if text and class knew nothing of each other.

    Parameters
    ----------
    shares
        Shape (n, BINS): how likely each of `CENTRES` is as the tokens to come.
    at
        Shape (n,): tokens that were out when this was said.
    lengths, usual
        Shape (n, BINS) and (BINS,): how likely each of them is as a whole answer, among requests
        of the class, and among those that the model was trained on.
    """
    odds = lengths / np.maximum(usual, 1e-9)
    # What would be the whole answer, in bins.
    whole = np.log(at[:, None] + CENTRES) / np.log(RATIO)
    whole = np.clip(np.rint(whole).astype(np.int64), 0, BINS - 1)
    made = shares * np.take_along_axis(odds, whole, axis=1)
    total = made.sum(axis=1, keepdims=True)
    return np.where(total > 0, made / np.where(total > 0, total, 1.0), shares)


def thirds(shares: FloatArray, at: IntArray, produced: IntArray) -> FloatArray:
    """Mean tokens to come in each third of the cases, shape (n, 3), the shortest first.

    Parameters
    ----------
    shares
        Shape (n, BINS): how likely each of `CENTRES` was as the tokens to come.
    at, produced
        Shape (n,): tokens that were out then, and now.
    """
    since = np.maximum(produced - at, 0)
    left = np.empty((len(shares), len(BEYOND)))
    for i, cumulative in enumerate(np.cumsum(shares, axis=1)):
        left[i] = left_to_say(CENTRES, cumulative, since[i : i + 1])[0]
    as_much_again = np.maximum(produced, 1)[:, None] * BEYOND
    return np.where(np.isnan(left), as_much_again, left)
