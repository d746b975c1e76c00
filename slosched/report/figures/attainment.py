"""Attainment: against load as lines, or by policy as bars."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from slosched.report.figures.canvas import Frame, draw
from slosched.report.figures.ink import ink
from slosched.report.figures.series import Series
from slosched.report.figures.spread import spread
from slosched.report.words import percent, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

WIDTH = 372
LABEL = 11  # px that a line of labels takes
LETTER = 5.8  # px, on average, of a label's letter
Curve = Sequence[tuple[float, float]]  # (load, share)


def lines(name: str, alt: str, looks: Mapping[str, Series], curves: Mapping[str, Curve]) -> Markup:
    """Draw a line per policy over the loads, with its name at its end.

    Parameters
    ----------
    looks
        Of each policy.
    curves
        Label of a policy -> its points, by load.
    """
    curves = {label: curve for label, curve in curves.items() if curve}
    longest = max((len(_ending(label, curves[label])) for label in curves), default=0)
    frame = Frame(WIDTH, max(270, 60 + LABEL * len(curves)), right=18 + LETTER * longest)

    def plot(axes: "Axes") -> None:
        loads = sorted({load for curve in curves.values() for load, _ in curve})
        axes.set_xticks(loads, [f"{load:g}" for load in loads])
        axes.set_xlim(*_around(loads))
        axes.set_xlabel("load")
        _shares(axes.yaxis)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(axis="y")
        axes.tick_params(length=0)
        for label, curve in curves.items():
            look = looks[label]
            xs, ys = zip(*curve, strict=True)
            axes.plot(xs, ys, marker=look.marker, markersize=4, clip_on=False, **look.line)
        _label_ends(axes, frame, looks, curves)

    return draw(name, alt, frame, plot)


def bars(
    name: str, alt: str, looks: Mapping[str, Series], values: Mapping[str, float | None]
) -> Markup:
    """Draw a bar per policy, the first on top, with its share behind it."""
    longest = max((len(short(label)) for label in values), default=0)
    frame = Frame(WIDTH, 46 + 22 * max(len(values), 1), left=14 + LETTER * longest, right=44, top=6)

    def plot(axes: "Axes") -> None:
        for row, (label, value) in enumerate(values.items()):
            axes.barh(row, value or 0.0, height=0.62, color=ink(looks[label].colour))
            axes.text((value or 0.0) + 0.015, row, percent(value), va="center", clip_on=False)
        axes.set_yticks(range(len(values)), [short(label) for label in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        _shares(axes.xaxis)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)

    return draw(name, alt, frame, plot)


def _label_ends(
    axes: "Axes", frame: Frame, looks: Mapping[str, Series], curves: Mapping[str, Curve]
) -> None:
    low, high = axes.get_ylim()
    px = (high - low) / frame.inner_height
    ends = [curve[-1] for curve in curves.values()]
    # Whoever is listed first is above whoever is as high.
    places = spread([y for _, y in ends][::-1], LABEL * px, low, high)[::-1]
    left, right = axes.get_xlim()
    elbow = right + (right - left) * 9 / frame.inner_width
    for (label, curve), place in zip(curves.items(), places, strict=True):
        x, y = curve[-1]
        axes.plot([x, elbow], [y, place], color=ink("grid"), linewidth=0.8, clip_on=False, zorder=1)
        axes.text(
            elbow + (right - left) * 3 / frame.inner_width,
            place,
            _ending(label, curve),
            color=ink(looks[label].colour),
            va="center",
            clip_on=False,
        )


def _ending(label: str, curve: Curve) -> str:
    return f"{short(label)} {percent(curve[-1][1], 0)}"


def _around(loads: Sequence[float]) -> tuple[float, float]:
    margin = 0.03 * (loads[-1] - loads[0])
    return loads[0] - margin, loads[-1] + margin


def _shares(axis: "Axis") -> None:
    ticks = (0, 0.25, 0.5, 0.75, 1)
    axis.set_ticks(ticks, [percent(tick, 0) for tick in ticks])
