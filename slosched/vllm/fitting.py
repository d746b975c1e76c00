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
    found, used = believed.copy(), np.zeros(4, dtype=np.bool_)
    for i in range(4):
        used[i] = normal[i, i] > 0
        if used[i]:
            found[i] = 0.0
    while used.any():
        solution = _solve(normal, right, used)
        least = -1
        for i in range(4):
            if solution[i] < 0 and (least < 0 or solution[i] < solution[least]):
                least = i
        if least < 0:
            break
        used[least] = False  # it came out negative: without it, the rest is fitted again
    for i in range(4):
        if used[i]:
            found[i] = solution[i] / np.sqrt(normal[i, i])
    found[0] = max(found[0], _BASE)
    return found


@njit(cache=True)
def _normal_equations(observed: FloatArray, believed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sum up the usual steps: shapes (4, 4) and (4,)."""
    ratio = np.empty(len(observed))
    for k in range(len(observed)):
        expected = believed[0]
        for i in range(3):
            expected += believed[i + 1] * observed[k, i]
        ratio[k] = observed[k, 3] / expected
    # Compilations and page faults are no property of a batch. Measured against the model, not the
    # clock: a long prefill may well take ten times as long as a decode.
    most = _OUTLIER * np.sort(ratio)[len(ratio) // 2]
    normal, right, relative = np.zeros((4, 4)), np.zeros(4), np.empty(4)
    for k in range(len(observed)):
        if ratio[k] > most:
            continue
        relative[0] = 1.0 / observed[k, 3]
        for i in range(3):
            relative[i + 1] = observed[k, i] / observed[k, 3]
        for i in range(4):
            right[i] += relative[i]
            for j in range(4):
                normal[i, j] += relative[i] * relative[j]
    return normal, right


@njit(cache=True)
def _solve(normal: FloatArray, right: FloatArray, used: BoolArray) -> FloatArray:
    """Solve for the coefficients in use by Cholesky's decomposition, each times its column."""
    lower, solution = np.eye(4), np.zeros(4)
    for i in range(4):
        if not used[i]:
            continue
        solution[i] = right[i] / np.sqrt(normal[i, i])
        for j in range(i + 1):
            if not used[j]:
                continue
            value = normal[i, j] / np.sqrt(normal[i, i] * normal[j, j])
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = value / lower[j, j] if j < i else np.sqrt(max(value, 0.0) + _RIDGE)
        for k in range(i):
            solution[i] -= lower[i, k] * solution[k]
        solution[i] /= lower[i, i]
    for i in range(3, -1, -1):
        for k in range(i + 1, 4):
            solution[i] -= lower[k, i] * solution[k]
        solution[i] /= lower[i, i]
    return solution
