"""What is left to say, short, as usual or long, out of lengths that were seen."""

import numpy as np

from slosched.core.types import FloatArray, IntArray

THIRDS = np.array([0, 1, 2, 3]) / 3


def left_to_say(lengths: FloatArray, cumulative: FloatArray, produced: IntArray) -> FloatArray:
    """Mean output tokens to come in each third of the cases, the shortest first.

    Parameters
    ----------
    lengths
        Shape (k,), ascending: what answers may come to. Those up to `produced` are ruled out.
    cumulative
        Shape (k,): weight of all lengths up to each.
    produced
        Shape (n,): output tokens so far.

    Returns
    -------
    Shape (n, 3); NaN for who is past all but a millionth of the weight.
    """
    weight = np.concatenate(([0.0], cumulative))
    tokens = np.concatenate(([0.0], np.cumsum(np.diff(weight) * lengths)))
    below = weight[np.searchsorted(lengths, produced, side="right")]
    possible = weight[-1] - below
    cuts = below[:, None] + possible[:, None] * THIRDS
    in_thirds = np.diff(np.interp(cuts, weight, tokens), axis=1)
    known = possible > 1e-6 * weight[-1]
    mean = in_thirds[known] * 3 / possible[known, None]
    left = np.full(in_thirds.shape, np.nan)
    left[known] = mean - produced[known, None]
    return left
