"""How many requests wait, or are being answered, over time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from slosched.core.types import FloatArray
from slosched.report.figures.canvas import Frame, draw
from slosched.report.figures.series import Series
from slosched.report.figures.thin import POINTS, corners, mean_present

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME = Frame(420, 236)
Stays = tuple[FloatArray, FloatArray]  # when each came, and when it left, s


def presence(
    name: str, alt: str, looks: Mapping[str, Series], stays: Mapping[str, Stays], end: float
) -> Markup:
    """Draw a curve per policy: how many were there, in the mean over each pixel's time.

    Parameters
    ----------
    stays
        Label of a policy -> when requests came and left.
    end
        Seconds that the picture shows.
    """
    edges = np.linspace(0.0, end, POINTS + 1)
    middle = (edges[1:] + edges[:-1]) / 2

    def plot(axes: "Axes") -> None:
        for label in reversed(list(stays)):  # the first on top
            y = mean_present(*stays[label], edges)
            kept = corners(y)
            axes.plot(middle[kept], y[kept], **looks[label].line)
        axes.set_xlim(0, end)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds since the first arrival")
        axes.tick_params(length=0)
        axes.grid()

    return draw(name, alt, FRAME, plot)
