"""Which part of a run its schedule is drawn of."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from slosched.core.errors import SloschedError
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.report.requests import Requests

READABLE = 400  # rows, each of some pixels
MOST = 1000  # rows that a picture shows at all
SHORTEST = 1e-3  # s
LENGTHS = (60.0, 30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)  # s


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, and the requests that it is about.

    Parameters
    ----------
    begin, end
        Seconds since the first arrival.
    rows
        Those that arrive, get their first token or finish in it, by arrival.
    left_out
        How many more do, for which there is no room.
    through
        How many more are there from before its begin until after its end.
    chosen
        Whether it is where most is missed, rather than where somebody asked for.
    """

    begin: float
    end: float
    rows: IntArray
    left_out: int
    through: int
    chosen: bool


def choose(requests: Requests, begin: float | None = None, length: float | None = None) -> Window:
    """Choose a window; what is not given is chosen to be readable, and where most is missed.

    That is the longest window in which few enough requests come or go, and there the one in which
    most requests arrive that miss their SLO. A run that is readable as a whole is taken whole.

    Parameters
    ----------
    requests
        With arrivals.
    begin, length
        Seconds.

    Raises
    ------
    SloschedError
        If the window is not within the run.
    """
    events = _events(requests)
    end = float(np.nanmax(events, initial=SHORTEST))
    _check(begin, length, end)
    most = READABLE if length is None else MOST
    if length is None and begin is None and len(requests) <= READABLE:
        return _window(events, 0.0, end, most, chosen=False)
    chosen = begin is None
    for span in LENGTHS if length is None else (length,):
        since = _worst(requests, span) if begin is None else begin
        window = _window(events, since, since + span, most, chosen=chosen)
        if not window.left_out:
            break
    return window


def _check(begin: float | None, length: float | None, end: float) -> None:
    if begin is not None and not 0 <= begin <= end:
        raise SloschedError(
            f"--from must be from 0 to {end:.6g}, the run's last second, got {begin:g}"
        )
    if length is not None and not (length > 0 and isfinite(length)):
        raise SloschedError(f"--for must be greater than 0 and finite, got {length:g}")


def _events(requests: Requests) -> FloatArray:
    """Return when requests come, get their first token and finish, shape (3, n)."""
    arrival = _arrival(requests)
    return np.array([arrival, arrival + requests.ttft, arrival + requests.e2e])


def _arrival(requests: Requests) -> FloatArray:
    if requests.arrival is None:
        raise ValueError("requests must have arrivals")
    return requests.arrival


def _worst(requests: Requests, span: float) -> float:
    """Return the begin of the window in which most of those arrive that miss their SLO."""
    arrival = np.sort(_arrival(requests))
    missed = np.sort(_arrival(requests)[~requests.met])
    step = span / 20
    begins = np.unique(np.floor(arrival / step) * step)
    # Where nobody misses anything, the busiest.
    counts = [
        np.searchsorted(of, begins + span) - np.searchsorted(of, begins) for of in (arrival, missed)
    ]
    # lexsort's last key counts first; of equal windows the earliest.
    return float(begins[np.lexsort((-begins, *counts))[-1]])


def _window(events: FloatArray, begin: float, end: float, most: int, *, chosen: bool) -> Window:
    within: BoolArray = (events >= begin) & (events <= end)
    touched: BoolArray = np.any(within, axis=0)
    rows = np.flatnonzero(touched)
    rows = rows[np.argsort(events[0][rows], kind="stable")]
    through = int((~touched & (events[0] < begin) & (events[2] > end)).sum())
    return Window(begin, end, rows[:most], max(len(rows) - most, 0), through, chosen)
