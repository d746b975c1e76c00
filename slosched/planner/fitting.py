"""The latency model's least squares, compiled: they are solved while an engine waits.

Where steps are many and varied, this finds what `slosched.core.latency.fit` finds. Unlike that it
knows what is believed already, and keeps to it in what the steps do not tell: a batch that is
always full, be it for a plan's limit, says nothing of what a smaller one would take.
"""

import numpy as np
from numba import njit

from slosched.core.types import BoolArray, FloatArray

_OUTLIER = 10.0
_BASE = 1e-6  # s; a base of zero would let an idle engine's clock stand still
_SHARE = 0.01  # of the mean step, that even what is believed to cost nothing may come to
_RIDGE = 1e-9  # on exact steps; more than rounding makes of columns that say the same
_TRUST = 36.0  # believed to a third of itself; and each step is in four fits one after the other


@njit(cache=True)
def fit(observed: FloatArray, believed: FloatArray) -> FloatArray:
    """Fit the coefficients to steps, by least squares on the error relative to what was expected.

    What is believed counts like a measurement of each coefficient that may be off by a third of
    itself, against steps that are off by as much as they turn out to be (Hoerl and Kennard,
    1970: ridge regression, shrunk towards what is believed instead of 0).

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
    normal, right, square, steps = _normal_equations(observed, believed)
    unit = np.maximum(believed, _SHARE * _lone_cost(normal, right))
    found: FloatArray = _not_negative(normal, right, believed, unit, _RIDGE)
    noise = square  # the sum of squares that is left
    for i in range(4):
        noise -= 2.0 * right[i] * found[i]
        for j in range(4):
            noise += found[i] * normal[i, j] * found[j]
    found = _not_negative(normal, right, believed, unit, _RIDGE + _TRUST * max(noise, 0.0) / steps)
    found[0] = max(found[0], _BASE)
    return found


@njit(cache=True)
def fit_both(decodes: FloatArray, prefills: FloatArray, believed: FloatArray) -> FloatArray:
    """Fit the coefficients to steps without and with prefill, together."""
    found: FloatArray = fit(np.concatenate((decodes, prefills)), believed)
    return found


@njit(cache=True)
def _normal_equations(
    observed: FloatArray, believed: FloatArray
) -> tuple[FloatArray, FloatArray, float, int]:
    """Sum up the usual steps, each divided by what was expected; say how many they are."""
    expected, ratio = np.empty(len(observed)), np.empty(len(observed))
    for k in range(len(observed)):
        expected[k] = believed[0]
        for i in range(3):
            expected[k] += believed[i + 1] * observed[k, i]
        ratio[k] = observed[k, 3] / expected[k]
    # Compilations and page faults are no property of a batch. Measured against the model, not the
    # clock: a long prefill may well take ten times as long as a decode.
    most = _OUTLIER * np.sort(ratio)[len(ratio) // 2]
    normal, right, relative = np.zeros((4, 4)), np.zeros(4), np.empty(4)
    square, steps = 0.0, 0
    for k in range(len(observed)):
        if ratio[k] > most:
            continue
        steps += 1
        square += ratio[k] ** 2
        relative[0] = 1.0 / expected[k]
        for i in range(3):
            relative[i + 1] = observed[k, i] / expected[k]
        for i in range(4):
            right[i] += relative[i] * ratio[k]
            for j in range(4):
                normal[i, j] += relative[i] * relative[j]
    return normal, right, square, steps


@njit(cache=True)
def _lone_cost(normal: FloatArray, right: FloatArray) -> FloatArray:
    """Say what each coefficient would be if it took all the time; 0 where no step shows it."""
    cost = np.zeros(4)
    for i in range(4):
        if normal[i, i] > 0:
            cost[i] = right[i] / normal[i, i]
    return cost


@njit(cache=True)
def _not_negative(
    normal: FloatArray, right: FloatArray, believed: FloatArray, unit: FloatArray, ridge: float
) -> FloatArray:
    """Solve, and again without the least coefficient as long as that is negative."""
    found = believed.copy()
    used = np.zeros(4, dtype=np.bool_)
    for i in range(4):
        used[i] = normal[i, i] > 0 and unit[i] > 0
    while True:
        solved: FloatArray = found + unit * _change(normal, right, found, unit, used, ridge)
        least = -1
        for i in range(4):
            lower = least < 0 or solved[i] * unit[least] < solved[least] * unit[i]
            if solved[i] < 0 and lower:
                least = i
        if least < 0:
            return solved
        used[least], found[least] = False, 0.0


@njit(cache=True)
def _change(
    normal: FloatArray,
    right: FloatArray,
    start: FloatArray,
    unit: FloatArray,
    used: BoolArray,
    ridge: float,
) -> FloatArray:
    """Say how far to go from `start`, in units, by Cholesky's decomposition."""
    lower, change = np.eye(4), np.zeros(4)
    for i in range(4):
        if not used[i]:
            continue
        change[i] = right[i] * unit[i]
        for j in range(4):
            change[i] -= unit[i] * normal[i, j] * start[j]
        for j in range(i + 1):
            if not used[j]:
                continue
            value = unit[i] * normal[i, j] * unit[j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = value / lower[j, j] if j < i else np.sqrt(max(value, 0.0) + ridge)
        for k in range(i):
            change[i] -= lower[i, k] * change[k]
        change[i] /= lower[i, i]
    for i in range(3, -1, -1):
        for k in range(i + 1, 4):
            change[i] -= lower[k, i] * change[k]
        change[i] /= lower[i, i]
    return change
