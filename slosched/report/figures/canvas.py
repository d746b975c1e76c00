"""One pair of axes, drawn by matplotlib, as SVG that is part of a page."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from slosched.report.figures.ink import ink
from slosched.report.figures.svg import embedded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PX = 1 / 72  # an SVG of matplotlib's has 72 units an inch
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a $ in a name is a $
    "font.size": 10,
    "axes.edgecolor": ink("faint"),
    "axes.labelcolor": ink("text"),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": ink("grid"),
    "grid.linewidth": 0.8,
    "lines.scale_dashes": False,
    "text.color": ink("text"),
    "xtick.color": ink("faint"),
    "ytick.color": ink("faint"),
    "xtick.labelcolor": ink("text"),
    "ytick.labelcolor": ink("text"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture's size, and what its axes leave free on each side; px."""

    width: float
    height: float
    left: float = 44
    right: float = 14
    top: float = 12
    bottom: float = 40

    @property
    def inner_width(self) -> float:
        """Width of the axes."""
        return self.width - self.left - self.right

    @property
    def inner_height(self) -> float:
        """Height of the axes."""
        return self.height - self.top - self.bottom

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The axes' place, as shares of the picture: left, bottom, width, height."""
        return (
            self.left / self.width,
            self.bottom / self.height,
            self.inner_width / self.width,
            self.inner_height / self.height,
        )


def draw(
    name: str,
    alt: str,
    frame: Frame,
    plot: Callable[["Axes"], None],
    notes: Mapping[str, str] | None = None,
) -> Markup:
    """Draw a picture; the same input gives the same bytes.

    Parameters
    ----------
    name
        Of the picture, no other's on its page: letters, digits and hyphens.
    alt
        What the picture shows, for who cannot see it.
    plot
        Draws into the axes.
    notes
        Group id of an artist -> text that shows when the pointer rests on it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # What a user has set for other pictures is not for this one.
        mpl.rcdefaults()
        mpl.rcParams.update(cast("Any", _SETTINGS | {"svg.hashsalt": name}))
        # Browsers have glyphs that the font which text is measured by has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(frame.width * _PX, frame.height * _PX))
        plot(figure.add_axes(frame.box))
        drawn = StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return embedded(drawn.getvalue(), name, alt, notes or {})
