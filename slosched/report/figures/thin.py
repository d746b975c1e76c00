"""Curves of many points, as few as a picture can show."""

import numpy as np

from slosched.core.types import BoolArray, FloatArray

POINTS = 240  # about as many as a panel has pixels


def shares(values: FloatArray, grid: FloatArray) -> FloatArray:
    """Return the share of `values` that are at most each of `grid`; NaN is more than any."""
    known = np.sort(values[~np.isnan(values)])
    return np.searchsorted(known, grid, side="right") / max(len(values), 1)


def mean_present(begin: FloatArray, end: FloatArray, edges: FloatArray) -> FloatArray:
    """Return how many are there in the mean between edges, each from its `begin` to its `end`.

    Parameters
    ----------
    begin, end
        Shape (n,); an `end` of infinity is never.
    edges
        Shape (k + 1,), ascending.
    """
    time_there = _passed(begin, edges) - _passed(end, edges)
    mean: FloatArray = np.diff(time_there) / np.diff(edges)
    return mean


def _passed(events: FloatArray, at: FloatArray) -> FloatArray:
    """Return the time that has passed since each event by each time `at`, summed over events."""
    order = np.sort(events[np.isfinite(events)])
    before = np.searchsorted(order, at, side="right")
    sums = np.concatenate(([0.0], np.cumsum(order)))
    passed: FloatArray = before * at - sums[before]
    return passed


def corners(y: FloatArray) -> BoolArray:
    """Tell which points of a curve are needed: all but those within a flat."""
    flat = np.zeros(len(y), dtype=np.bool_)
    flat[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return ~flat
