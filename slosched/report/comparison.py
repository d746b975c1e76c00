"""The page that compares runs: pictures first, then tables, then where it all comes from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from slosched.report import html, pictures
from slosched.report.figures.series import Series, series
from slosched.report.harm import Trade, harm
from slosched.report.limits import asked
from slosched.report.pictures import Picture
from slosched.report.provenance import configurations, provenance
from slosched.report.runs import Run, Runs
from slosched.report.window import choose
from slosched.report.words import count, listing

_Drawing = Callable[[Runs, float | None, Mapping[str, Series]], Iterator[Picture]]


@dataclass(frozen=True, slots=True)
class AtLoad:
    """The pictures of one load, in sight or folded."""

    title: str
    shown: bool
    pictures: list[Picture]


def comparison(
    runs: Runs,
    run: str | None = None,
    begin: float | None = None,
    length: float | None = None,
) -> bytes:
    """Compare runs on one page.

    Parameters
    ----------
    run
        Title of the run whose schedule is drawn, and whose losers are listed; None for the best
        at the highest load.
    begin, length
        Which seconds of its schedule are drawn; None for a readable choice.

    Raises
    ------
    SloschedError
        If there is no such run, or nothing of it in that window.
    """
    chosen = runs.best() if run is None else runs.named(run)
    reference = runs.reference(chosen.load)
    looks = series(runs.labels)
    context = {
        "runs": runs,
        "subject": _subject(runs),
        "compared": sum(load is not None for load in runs.loads) > 1,
        "chosen": chosen,
        "reference": reference,
        "looks": list(looks.values()),
        "attainment": list(pictures.attainment(runs, looks)),
        "latencies": _by_load(runs, chosen, looks, pictures.latencies),
        "queues": _by_load(runs, chosen, looks, pictures.queues),
        "schedule": _schedule(chosen, begin, length),
        "trades": _trades(runs, reference),
        "harm": harm(chosen, reference) if chosen is not reference else None,
        "silent": sum(run.requests is None for run in runs.runs),
        "timeless": sum(bool(r.requests and r.requests.arrival is None) for r in runs.runs),
        "shed": any(run.result.shed for run in runs.runs),
        "limits": _limits(runs),
        "class_title": pictures.class_title,
        "isfinite": isfinite,
        "provenance": provenance(runs),
        "configurations": configurations(runs),
    }
    return html.render("comparison.html", context)


def _subject(runs: Runs) -> str:
    loads = [f"{load:g}" for load in runs.loads if load is not None]
    policies = {run.result.policy or run.label for run in runs.runs}
    who = count(len(policies), "policy", "policies") if len(policies) > 1 else policies.pop()
    return f"{who} at load{'s'[: len(loads) > 1]} {listing(loads)}" if loads else who


def _by_load(
    runs: Runs, chosen: Run, looks: Mapping[str, Series], drawing: _Drawing
) -> list[AtLoad]:
    """Draw every load: first, and in sight, the one of the run that was chosen."""
    others = [load for load in reversed(runs.loads) if load != chosen.load]
    drawn = [(load, list(drawing(runs, load, looks))) for load in (chosen.load, *others)]
    return [
        AtLoad("" if load is None else f"load {load:g}", load == chosen.load, of_load)
        for load, of_load in drawn
        if of_load
    ]


def _schedule(run: Run, begin: float | None, length: float | None) -> Picture | None:
    requests = run.requests
    if requests is None or requests.arrival is None:
        return None
    return pictures.schedule(run, requests, choose(requests, begin, length))


def _trades(runs: Runs, reference: Run) -> dict[str, dict[str, Trade]]:
    """Hold all runs of a load against the reference: label -> class -> what it gained and lost."""
    held = {
        run.label: harm(run, reference)
        for run in runs.ranked(reference.load)
        if run is not reference
    }
    return {
        label: {trade.name: trade for trade in found.trades()}
        for label, found in held.items()
        if found is not None
    }


def _limits(runs: Runs) -> dict[str, str]:
    """Say of each class what it asks for, if all runs have it ask for the same."""
    found = {
        name: {asked(run, name) for run in runs.runs if name in run.result.per_class}
        for name in runs.classes
    }
    return {name: said.pop() if len(said) == 1 else "" for name, said in found.items()}
