"""What pictures are drawn from, and that nothing gets lost on the way."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from slosched import EngineLimits, TracedRequest
from slosched.policies.sjf import Sjf
from slosched.report.figures.canvas import Frame, draw
from slosched.report.figures.gantt import gantt
from slosched.report.figures.ink import INKS
from slosched.report.figures.series import series
from slosched.report.figures.spread import spread
from slosched.report.figures.thin import corners, mean_present, shares
from tests.report.made import drawn, requests, simulated
from tests.strategies import engine_limits, traces

times = st.lists(st.floats(0, 100), max_size=40).map(np.array)


@given(times, st.lists(st.floats(0, 120), min_size=1, max_size=9))
def test_a_distribution_counts_everybody(seconds: np.ndarray, at: list[float]) -> None:
    """Each point is the share of values at most so large; whoever never came counts as none."""
    values = np.append(seconds, np.nan)
    found = shares(values, np.array(at))
    expected = [(values <= x).sum() / len(values) for x in at]
    np.testing.assert_allclose(found, expected)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=30), st.integers(1, 12))
def test_the_area_under_a_queue_is_the_time_spent_in_it(
    stays: list[tuple[float, float]], bins: int
) -> None:
    """Little's law at work: thinning a curve out loses nobody's time."""
    begin = np.array([a for a, _ in stays])
    end = np.array([a + b for a, b in stays])
    edges = np.linspace(0, 100, bins + 1)
    mean = mean_present(begin, end, edges)
    assert (mean >= -1e-9).all()
    assert (mean <= len(stays) + 1e-9).all()
    assert (mean * np.diff(edges)).sum() == pytest.approx((end - begin).sum(), abs=1e-6)


def test_whoever_never_leaves_is_there_to_the_end() -> None:
    mean = mean_present(np.array([1.0]), np.array([np.inf]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert mean.tolist() == [0, 1, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_thinned_curves_are_the_same_curves(heights: list[int]) -> None:
    y = np.array(heights, dtype=float)
    x = np.arange(len(y))
    kept = corners(y)
    np.testing.assert_array_equal(np.interp(x, x[kept], y[kept]), y)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_labels_keep_apart_and_in_order(wanted: list[float]) -> None:
    places = spread(wanted, 5, 0, 100)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [places[i] for i in order]
    gaps = np.diff(placed)
    assert (gaps >= 5 - 1e-6).all()
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)


@given(st.lists(st.integers(0, 10), unique=True, max_size=10))
def test_labels_that_have_room_stay(tens: list[int]) -> None:
    wanted = [10.0 * ten for ten in tens]
    assert spread(wanted, 8, 0, 100) == pytest.approx(wanted)


def test_more_labels_than_fit_share_the_room() -> None:
    assert spread([50.0] * 5, 40, 0, 100) == [0, 25, 50, 75, 100]
    assert spread([], 10, 0, 100) == []


def test_two_dozen_policies_look_different() -> None:
    looks = series([f"policy{i}" for i in range(24)])
    assert len({(look.colour, look.dashes) for look in looks.values()}) == 24


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_ink_can_be_seen_on_paper(dark: bool) -> None:
    """WCAG 2.1: a contrast of 4.5 for text, labels in a curve's colour too, and 3 for others."""
    paper = luminance(INKS["paper"][dark])
    for name, pair in INKS.items():
        if name not in ("paper", "grid"):
            low, high = sorted((paper, luminance(pair[dark])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name


@settings(max_examples=15)
@given(traces(max_size=12), engine_limits())
def test_a_schedule_has_every_request_once(
    trace: list[TracedRequest], limits: EngineLimits
) -> None:
    """A row by name for each request, that says by a mark what became of it."""
    run = requests(simulated(trace, Sjf(), limits))
    svg = gantt("g", "a schedule", run, np.arange(len(run)), 0.0, 10.0)
    root = ET.fromstring(svg)  # noqa: S314 - our own
    named = [text.text for text in root.iter("text") if (text.text or "")[-1:] in ("✓", "✗")]
    marks = {True: "✓", False: "✗"}
    assert named == [
        f"any r{i} {marks[bool(met)]}" for i, met in zip(range(len(run)), run.met, strict=True)
    ]
    notes = {(title.text or "").split(" (")[0] for title in root.iter("title")}
    assert notes == set(run.ids)


def test_missed_is_told_apart_by_more_than_its_colour() -> None:
    run = requests(simulated(drawn(2.0, 150), Sjf()))
    svg = gantt("g", "a schedule", run, np.arange(len(run)), 0.0, 1e3)
    root = ET.fromstring(svg)  # noqa: S314 - our own
    paints: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for group in root.iter("g"):
        title = group.findtext("title")
        for path in group.findall("path") if title is not None else []:
            style = dict(part.split(": ") for part in path.attrib["style"].split("; "))
            if "stroke" in style:  # the answer, not the wait
                paints[": met" in str(title)].add((style["fill"], style["stroke"]))
    assert paints[True] == {("var(--met)", "var(--met)")}
    assert paints[False] == {("var(--paper)", "var(--missed)")}


def test_a_picture_is_small_and_says_what_it_shows() -> None:
    def plot(axes: Axes) -> None:
        axes.plot([1, 2], [1, 2])

    svg = draw("p", 'of "a" & <b>', Frame(100, 80), plot)
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert root.attrib["aria-label"] == 'of "a" & <b>'
    assert root.attrib["viewBox"] == "0 0 100 80"
    assert not list(root.iter("style"))
    assert not re.search(r"\d\.\d{3}", svg)
    assert "http" not in svg
