"""The latency model's least squares, compiled: they are solved while an engine waits.

Finds what `slosched.core.latency.fit` finds, but looks at what is believed already: for outliers,
and for what no step has shown.
"""

import numpy as np
from numba import njit

from slosched.core.types import BoolArray, FloatArray

_OUTLIER = 10.0
_BASE = 1e-6  # s; a base of zero would let an idle engine's clock stand still
_RIDGE = 1e-11  # settles how much each of two columns has of what only their sum shows


@njit(cache=True)
def fit(observed: FloatArray, believed: FloatArray) -> FloatArray:
    """Fit the coefficients to steps, by least squares on the relative error.

    Parameters
    ----------
    observed
        Shape (n, 4): prefill tokens, decoding sequences and context tokens of each step, and the
        seconds that it took.
    believed
        Shape (4,): base, and seconds for each of the three.

    Returns
    -------
    The coefficients, shape (4,); none is negative.
    """
    normal, right = _normal_equations(observed, believed)
    seen = np.diag(normal) > 0
    found, used = believed.copy(), seen.copy()
    found[seen] = 0.0
    while used.any():
        solution = _solve(normal, right, used)
        least = np.argmin(solution * np.sqrt(np.diag(normal)))
        if solution[least] >= 0:
            found[used] = solution[used]
            break
        used[least] = False  # it came out negative: without it, the rest is fitted again
    found[0] = max(found[0], _BASE)
    return found


@njit(cache=True)
def _normal_equations(observed: FloatArray, believed: FloatArray) -> tuple[FloatArray, FloatArray]:
    # Compilations and page faults are no property of a batch. Measured against the model, not the
    # clock: a long prefill may well take ten times as long as a decode.
    expected = believed[0] + observed[:, :3] @ believed[1:]
    ratio = observed[:, 3] / expected
    most = _OUTLIER * np.median(ratio)
    normal, right, row = np.zeros((4, 4)), np.zeros(4), np.ones(4)
    for i in range(len(observed)):
        if ratio[i] <= most:
            row[1:] = observed[i, :3]
            relative = row / observed[i, 3]
            right += relative
            normal += np.outer(relative, relative)
    return normal, right


@njit(cache=True)
def _solve(normal: FloatArray, right: FloatArray, used: BoolArray) -> FloatArray:
    """Solve for the coefficients in use, by Cholesky's decomposition; the others are 0."""
    scale = np.where(used, 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-300)), 0.0)
    lower, solution = np.eye(4), right * scale
    for i in range(4):
        for j in range(i + 1):
            value = normal[i, j] * scale[i] * scale[j] - (lower[i, :j] * lower[j, :j]).sum()
            if i != j:
                lower[i, j] = value / lower[j, j]
            elif used[i]:
                lower[i, i] = np.sqrt(max(value, 0.0) + _RIDGE)
        solution[i] = (solution[i] - (lower[i, :i] * solution[:i]).sum()) / lower[i, i]
    for i in range(3, -1, -1):
        solution[i] = (solution[i] - (lower[i + 1 :, i] * solution[i + 1 :]).sum()) / lower[i, i]
    return solution * scale
