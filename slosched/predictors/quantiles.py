"""Quantiles of what is left to say, out of lengths that were seen."""

import numpy as np

from slosched.core.snapshot import QUANTILES
from slosched.core.types import FloatArray, IntArray


def left_to_say(lengths: FloatArray, cumulative: FloatArray, produced: IntArray) -> FloatArray:
    """Output tokens to come at the `QUANTILES`, given that an answer is longer than it is by now.

    Parameters
    ----------
    lengths
        Shape (k,), ascending: what answers may come to.
    cumulative
        Shape (k,): weight of all lengths up to each.
    produced
        Shape (n,): output tokens so far.

    Returns
    -------
    Shape (n, 3); NaN for who is past all but a millionth of the weight.
    """
    total = cumulative[-1]
    ruled_out = np.searchsorted(lengths, produced, side="right")
    below = np.concatenate(([0.0], cumulative))[ruled_out]
    possible = total - below
    targets = below[:, None] + possible[:, None] * np.array(QUANTILES)
    found = np.clip(np.searchsorted(cumulative, targets), ruled_out[:, None], len(lengths) - 1)
    left = np.where((possible > 1e-6 * total)[:, None], lengths[found], np.nan)
    return left - produced[:, None]
