"""How the curves of one policy look, in every picture of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slosched.report.figures.ink import CURVES, ink

DASHES = ((), (6, 2.5), (1.5, 1.8), (8, 2, 1.5, 2))
MARKERS = "os^DvPX<>"


@dataclass(frozen=True, slots=True)
class Series:
    """A policy's curves.

    Parameters
    ----------
    colour
        Name of an ink.
    dashes
        Lengths of dashes and gaps, px; empty for a solid line.
    """

    label: str
    colour: str
    dashes: tuple[float, ...]
    marker: str
    width: float

    @property
    def line(self) -> dict[str, Any]:
        """Matplotlib's arguments of a curve."""
        style = (0, self.dashes) if self.dashes else "solid"
        return {"color": ink(self.colour), "linestyle": style, "linewidth": self.width}


def series(labels: Sequence[str]) -> dict[str, Series]:
    """Return the looks by label; the first 24 differ, and the first is the boldest."""
    return {
        label: Series(
            label=label,
            colour=CURVES[i % len(CURVES)],
            # Neighbours differ in both, and whoever has the same colour again has other dashes.
            dashes=DASHES[(i + i // len(CURVES)) % len(DASHES)],
            marker=MARKERS[i % len(MARKERS)],
            width=2.2 if i == 0 else 1.4,
        )
        for i, label in enumerate(labels)
    }
