"""Cumulative distributions of latencies, with the limit that the class asks for."""

from collections.abc import Mapping
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from slosched.core.types import FloatArray
from slosched.report.figures.canvas import Frame, draw
from slosched.report.figures.ink import ink
from slosched.report.figures.series import Series
from slosched.report.figures.thin import POINTS, corners, shares
from slosched.report.words import duration, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME = Frame(372, 236, top=22)


def distributions(
    name: str,
    alt: str,
    looks: Mapping[str, Series],
    times: Mapping[str, FloatArray],
    limit: float,
) -> Markup:
    """Draw a curve per policy: the share of requests that took at most so long.

    Parameters
    ----------
    times
        Label of a policy -> seconds, shape (requests,); NaN for what never came.
    limit
        Seconds; not finite if there is no one limit to mark.
    """
    low, high = _range(times, limit)
    grid = np.geomspace(low, high, POINTS)
    if isfinite(limit):
        # At the limit the curve's height is the share that keeps it, to the last request.
        grid = np.sort(np.append(grid, limit))

    def plot(axes: "Axes") -> None:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        ticks = _ticks(low, high)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("seconds")
        axes.set_ylim(0, 1.01)
        axes.set_yticks((0, 0.25, 0.5, 0.75, 1), [percent(y, 0) for y in (0, 0.25, 0.5, 0.75, 1)])
        axes.tick_params(length=0)
        axes.grid()
        if isfinite(limit):
            _mark(axes, limit, low, high)
        for label in reversed(list(times)):  # the first on top
            y = shares(times[label], grid)
            kept = corners(y)
            axes.plot(grid[kept], y[kept], **looks[label].line)

    return draw(name, alt, FRAME, plot)


def _range(times: Mapping[str, FloatArray], limit: float) -> tuple[float, float]:
    every = np.concatenate([*times.values(), [limit]])
    positive = every[np.isfinite(every) & (every > 0)]
    if not len(positive):
        return 0.1, 10.0
    # What is faster than a thousandth of the rest would leave the rest no room.
    low = max(float(positive.min()), float(np.percentile(positive, 1)) / 1e3)
    return low / 1.15, float(positive.max()) * 1.15


def _ticks(low: float, high: float) -> list[float]:
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 9:
            break
    return ticks


def _mark(axes: "Axes", limit: float, low: float, high: float) -> None:
    axes.axvline(limit, color=ink("limit"), linewidth=1.2, zorder=1.5)
    near_right = log10(limit / low) > 0.5 * log10(high / low)
    axes.annotate(
        f"limit {duration(limit)}",
        (limit, 1.01),
        xycoords=("data", "axes fraction"),
        xytext=(2 if near_right else -2, 4),
        textcoords="offset points",
        ha="right" if near_right else "left",
    )
