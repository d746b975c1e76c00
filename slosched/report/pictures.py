"""The pictures of a report: what is drawn of which runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from markupsafe import Markup

from slosched.report.figures.attainment import bars, lines
from slosched.report.figures.gantt import gantt
from slosched.report.figures.latency import distributions
from slosched.report.figures.queue import Stays, presence
from slosched.report.figures.series import Series
from slosched.report.requests import Requests
from slosched.report.runs import Run, Runs
from slosched.report.window import Window
from slosched.report.words import count, printable

TIMES = {
    "ttft": "time to first token (TTFT)",
    "tpot": "time per output token (TPOT)",
    "e2e": "end-to-end time",
}
UNNAMED = "explicit targets"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its title, and what is to be said of it in small print."""

    title: str
    svg: Markup
    small: str = ""


def class_title(name: str) -> str:
    """Return how a class is called: requests with targets of their own may be of none."""
    return printable(name) or UNNAMED


def attainment(runs: Runs, looks: Mapping[str, Series]) -> Iterator[Picture]:
    """Draw attainment of all requests, and of each class if there are several."""
    loads = [load for load in runs.loads if load is not None]
    barred = [load for load in runs.loads if load is None or len(loads) == 1]
    for i, name in enumerate([None, *(runs.classes if len(runs.classes) > 1 else [])]):
        title = "All requests" if name is None else class_title(name)
        if len(loads) > 1:
            curves = {label: _curve(runs, label, name) for label in runs.labels}
            alt = f"{title}: share that meets its SLO against load, a line per policy"
            yield Picture(title, lines(f"attainment-{i}", alt, looks, curves))
        for load in reversed(barred):
            values = {run.label: _share(run, name) for run in runs.ranked(load)}
            at = title if load is None else f"{title}, load {load:g}"
            alt = f"{at}: share that meets its SLO, a bar per policy"
            yield Picture(at, bars(f"attainment-{i}-{_slug(load)}", alt, looks, values))


def latencies(runs: Runs, load: float | None, looks: Mapping[str, Series]) -> Iterator[Picture]:
    """Draw how long requests took at one load, by class, as far as runs say."""
    told = {run.label: run.requests for run in runs.ranked(load) if run.requests}
    classes = sorted({name for requests in told.values() for name in requests.members})
    for i, name in enumerate(classes):
        of_class = {label: r for label, r in told.items() if name in r.members}
        limited = {metric for r in of_class.values() for metric in r.limited(name)}
        for metric in (metric for metric in TIMES if metric in limited):
            limit = _common({r.limit(metric, name) for r in of_class.values()})
            times = {label: getattr(r, metric)[r.members[name]] for label, r in of_class.items()}
            title = f"{class_title(name)}: {TIMES[metric]}"
            alt = f"{title}: share of requests against seconds, a curve per policy"
            svg = distributions(f"{metric}-{_slug(load)}-{i}", alt, looks, times, limit)
            small = "Limits differ, so none is marked." if isnan(limit) else ""
            yield Picture(title, svg, small)


def queues(runs: Runs, load: float | None, looks: Mapping[str, Series]) -> Iterator[Picture]:
    """Draw how many requests waited and were in service at one load, as far as runs say."""
    waiting: dict[str, Stays] = {}
    serving: dict[str, Stays] = {}
    end = 1e-3
    for run in runs.ranked(load):
        requests = run.requests
        if requests is None or requests.arrival is None:
            continue
        # Who never got a first token waited for nothing: it was refused, or failed.
        came, first = requests.arrival, requests.arrival + requests.ttft
        served = np.isfinite(first)
        finish = np.where(np.isfinite(requests.e2e), came + requests.e2e, first)[served]
        waiting[run.label] = came[served], first[served]
        serving[run.label] = first[served], finish
        end = max(end, float(np.max(finish, initial=0.0)))
    for title, what, stays in (
        ("Waiting", "from arrival to first token", waiting),
        ("Being answered", "from first to last token, preempted ones too", serving),
    ):
        if stays:
            alt = f"{title}: number of requests over time, a curve per policy"
            svg = presence(f"{what.split()[1]}-{_slug(load)}", alt, looks, stays, end)
            yield Picture(f"{title}: {what}", svg)


def schedule(run: Run, requests: Requests, window: Window) -> Picture:
    """Draw what happened in a window of a run."""
    span = f"from {window.begin:.6g} to {window.end:.6g} s"
    title = f"{printable(run.title)}, {span}"
    alt = f"Schedule of {title}: {len(window.rows)} requests, a row each, with their deadlines"
    svg = gantt("schedule", alt, requests, window.rows, window.begin, window.end)
    small = [f"{count(len(window.rows), 'request')} that arrived, began or ended an answer in it."]
    if window.chosen:
        missed = "those in which most requests arrive that miss their SLO"
        small.append(f"These seconds are {'the busiest' if requests.met.all() else missed}.")
    if window.left_out:
        small.append(f"{window.left_out:,} more did, for which there is no room: use --for.")
    if window.through:
        small.append(f"{window.through:,} more waited or were being answered all the time.")
    return Picture(title, svg, " ".join(small))


def _common(limits: set[float]) -> float:
    return limits.pop() if len(limits) == 1 else nan


def _curve(runs: Runs, label: str, name: str | None) -> list[tuple[float, float]]:
    """Return (load, share) for the loads at which a policy was run."""
    return [
        (load, share)
        for load in runs.loads
        for run in runs.at(load)
        if load is not None and run.label == label and (share := _share(run, name)) is not None
    ]


def _share(run: Run, name: str | None) -> float | None:
    """Return the attainment of a class, or of all if `name` is None."""
    if name is None:
        return run.result.slo_attainment
    found = run.result.per_class.get(name)
    return None if found is None else found.slo_attainment


def _slug(load: float | None) -> str:
    return "at" if load is None else f"{load!r}".replace(".", "-").replace("+", "")
