"""A schedule: a row per request, from its arrival to its last token, with its deadlines."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from slosched.core.types import FloatArray, IntArray
from slosched.report.figures.canvas import Frame, draw
from slosched.report.figures.ink import ink
from slosched.report.requests import Requests
from slosched.report.words import duration, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

WIDTH = 1040
ROW = 11  # px of a row with its request's name
TALLEST = 1400  # px of all rows together, from where on they get narrower
THINNEST = 2
LETTER = 4.9
SMALL = 8
DEADLINES = {"ttft": "v", "tpot": "d", "e2e": "|"}  # matplotlib's markers


@dataclass(frozen=True, slots=True)
class _Bars:
    """Times of the rows to draw, s; NaN for what never came, or is not known."""

    arrival: FloatArray
    start: FloatArray
    first: FloatArray
    finish: FloatArray


def gantt(
    name: str, alt: str, requests: Requests, rows: IntArray, begin: float, end: float
) -> Markup:
    """Draw requests, the first on top, between two times.

    What was met is filled and what was missed is hollow, and each has its own colour.

    Parameters
    ----------
    requests
        With arrivals.
    rows
        Which of them, in order.
    """
    arrival = np.zeros(len(requests)) if requests.arrival is None else requests.arrival
    every = _Bars(arrival, requests.start, arrival + requests.ttft, arrival + requests.e2e)
    bars = _Bars(every.arrival[rows], every.start[rows], every.first[rows], every.finish[rows])
    height = max(min(ROW, TALLEST / max(len(rows), 1)), THINNEST)
    names = [_name(requests, int(row)) for row in rows] if height > SMALL else []
    left = 16 + LETTER * max(map(len, names), default=2)
    frame = Frame(WIDTH, 66 + height * len(rows), left=left, right=16, top=26)

    def plot(axes: "Axes") -> None:
        _axes(axes, names, len(rows), begin, end)
        for k, row in enumerate(rows):
            _bar(axes, k, bars, bool(requests.met[row]), width=min(1, height / 6))
        if not names:
            _mark_missed(axes, np.flatnonzero(~requests.met[rows]))
        for metric, marker in DEADLINES.items():
            due = _due(requests, every, metric)[rows]
            shown = np.flatnonzero((due >= begin) & (due <= end))
            _mark_due(axes, due[shown], shown, marker, min(max(height, 5), 8))

    notes = {f"request-{k}": _note(requests, int(row)) for k, row in enumerate(rows)}
    return draw(name, alt, frame, plot, notes)


def _axes(axes: "Axes", names: list[str], n: int, begin: float, end: float) -> None:
    axes.set_xlim(begin, end)
    axes.set_ylim(n - 0.3, -0.7)
    axes.set_xlabel("seconds since the first arrival")
    axes.tick_params(length=0, labeltop=True)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _mark_due(axes: "Axes", due: FloatArray, rows: IntArray, marker: str, size: float) -> None:
    """Mark deadlines, with a rim that sets them off from the bars that they lie on."""
    tick = marker == "|"
    for colour, more in (("paper", 1.6), ("text", 0.0)):
        axes.plot(
            due, rows, marker, color=ink(colour), clip_on=False, zorder=4,
            markersize=size * (1 if tick else 0.65) + more,
            markeredgewidth=1.6 + more if tick else 0,
        )  # fmt: skip


def _mark_missed(axes: "Axes", rows: IntArray) -> None:
    """Mark rows that are too narrow for a name beside their begin."""
    beside = axes.get_yaxis_transform()  # axes' own coordinates along, rows across
    axes.plot(
        np.full(len(rows), -0.008), rows, "_", color=ink("missed"), markersize=8,
        markeredgewidth=1, transform=beside, clip_on=False,
    )  # fmt: skip


def _bar(axes: "Axes", k: int, bars: _Bars, met: bool, *, width: float) -> None:
    from matplotlib.patches import PathPatch

    colour = ink("met" if met else "missed")
    gid = f"request-{k}"
    arrival, start, first, finish = (
        float(times[k]) for times in (bars.arrival, bars.start, bars.first, bars.finish)
    )
    served = start if isfinite(start) else first
    thin = _boxes(k, [(arrival, served, 0.26), (served, first, 0.5)])
    if thin is not None:
        axes.add_patch(PathPatch(thin, facecolor=colour, linewidth=0, alpha=0.6, gid=gid))
    thick = _boxes(k, [(first, finish, 0.74)])
    if thick is not None:
        face = colour if met else ink("paper")
        axes.add_patch(PathPatch(thick, facecolor=face, edgecolor=colour, linewidth=width, gid=gid))
    else:  # it never got its last token
        last = next(t for t in (first, arrival) if isfinite(t))
        axes.plot([last], [k], "x", color=colour, markersize=5, gid=gid)


def _boxes(k: int, spans: list[tuple[float, float, float]]) -> "Path | None":
    """Return the outlines of (begin, end, height) in a row; None of spans that never were."""
    from matplotlib.path import Path as Outline

    corners = [
        [(a, k - h / 2), (b, k - h / 2), (b, k + h / 2), (a, k + h / 2), (a, k - h / 2)]
        for a, b, h in spans
        if isfinite(a) and isfinite(b) and b >= a
    ]
    if not corners:
        return None
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(np.concatenate(corners), codes * len(corners))


def _due(requests: Requests, every: _Bars, metric: str) -> FloatArray:
    """Return by when a limit asks for what it is about, s since the first arrival."""
    due: FloatArray
    if metric != "tpot":
        due = every.arrival + getattr(requests, f"{metric}_limit")
        return due
    after_first = np.where(requests.output_tokens > 1, requests.output_tokens - 1, np.nan)
    due = every.first + requests.tpot_limit * after_first
    return due


def _name(requests: Requests, row: int) -> str:
    mark = "✓" if requests.met[row] else "✗"
    return f"{short(requests.classes[row], 12)} {short(requests.ids[row], 22)} {mark}"


def _note(requests: Requests, row: int) -> str:
    times = [
        f"{title} {_seconds(requests, metric, row)}"
        for metric, title in (("ttft", "first token after"), ("e2e", "last after"))
    ]
    limits = [
        f"{metric.upper() if metric != 'e2e' else 'end to end'} {duration(limit)}"
        for metric in DEADLINES
        if isfinite(limit := float(getattr(requests, f"{metric}_limit")[row]))
    ]
    outcome = "met" if requests.met[row] else "missed"
    asked = f"; limits: {', '.join(limits)}" if limits else ""
    name = f"{short(requests.ids[row], 200)} ({short(requests.classes[row])})"
    return f"{name}: {outcome}; {', '.join(times)}{asked}"


def _seconds(requests: Requests, metric: str, row: int) -> str:
    seconds = float(getattr(requests, metric)[row])
    return duration(seconds) if isfinite(seconds) else "never"
