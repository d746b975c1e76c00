"""Runs that are compared: each under a name of its own, in groups of one load."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property

from slosched.core.errors import SloschedError
from slosched.report.requests import Requests
from slosched.report.results import Result

REFERENCE = "fcfs"  # whom the others are held against, where it was run


@dataclass(frozen=True, eq=False)
class Run:
    """A run, and what happened to each of its requests if the result says so.

    Parameters
    ----------
    label
        Its name in all pictures: the policy's, and the file's where it takes that to tell runs
        apart.
    file
        Name of the file that it was read from.
    """

    label: str
    file: str
    result: Result
    requests: Requests | None = None

    @property
    def load(self) -> float | None:
        """Times as fast as recorded, if known."""
        return self.result.load

    @property
    def attainment(self) -> float:
        """Share of requests that kept their SLO; 0 of nobody."""
        return self.result.slo_attainment or 0.0

    @property
    def title(self) -> str:
        """How `--run` names it, and what stands over its pictures."""
        return self.label if self.load is None else f"{self.label}@{self.load:g}"


@dataclass(frozen=True)
class Runs:
    """All runs of a report, at least one, no two of them with the same title."""

    runs: Sequence[Run]

    @cached_property
    def labels(self) -> list[str]:
        """All labels, those first that attain most at the highest load."""
        best: dict[str, float] = {}
        for load in reversed(self.loads):
            for run in self.at(load):
                best.setdefault(run.label, run.attainment)
        full = {run.label for run in self.at(self.highest)}
        return sorted(best, key=lambda label: (label not in full, -best[label], label))

    @cached_property
    def loads(self) -> list[float | None]:
        """Loads in ascending order; before them None, if a run does not say its own."""
        return sorted({run.load for run in self.runs}, key=lambda load: load or 0.0)

    @property
    def highest(self) -> float | None:
        """The highest load, or None if no run says its own."""
        return self.loads[-1]

    @cached_property
    def classes(self) -> list[str]:
        """Names of all classes, sorted."""
        return sorted({name for run in self.runs for name in run.result.per_class})

    def at(self, load: float | None) -> list[Run]:
        """Return the runs of one load, in the order of the files."""
        return [run for run in self.runs if run.load == load]

    def ranked(self, load: float | None) -> list[Run]:
        """Return the runs of one load, in the order of `labels`."""
        return sorted(self.at(load), key=lambda run: self.labels.index(run.label))

    def reference(self, load: float | None) -> Run:
        """Return FCFS's run at a load, or else the first."""
        runs = self.at(load)
        return next((run for run in runs if run.result.policy == REFERENCE), runs[0])

    def best(self) -> Run:
        """Return the best run at the highest load; of those that say most of their requests."""
        runs = self.ranked(self.highest)
        timed = [run for run in runs if run.requests and run.requests.arrival is not None]
        told = [run for run in runs if run.requests]
        return max(timed or told or runs, key=lambda run: run.attainment)

    def named(self, title: str) -> Run:
        """Return the run that `--run` names: by title, or by label alone at the highest load."""
        known = {run.title: run for run in self.runs}
        known |= {run.label: run for run in self.at(self.highest) if run.label not in known}
        if title in known:
            return known[title]
        close = get_close_matches(title, known, 1)
        titles = [run.title for run in self.runs]
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(titles)}"
        raise SloschedError(f"--run {title}: no such run, {hint}")


def distinct(runs: Sequence[Run]) -> Runs:
    """Tell runs of the same policy and load apart: by their files, and then by numbers."""
    runs = _renamed(runs, lambda run, _: f"{run.label} ({run.file})")
    return Runs(_renamed(runs, lambda run, nth: run.label if nth == 1 else f"{run.label} #{nth}"))


def _renamed(runs: Sequence[Run], name: Callable[[Run, int], str]) -> list[Run]:
    """Give labels that two runs of one load share a new name each."""
    often = Counter(run.title for run in runs)
    shared = {run.label for run in runs if often[run.title] > 1}
    seen: Counter[str] = Counter()
    renamed = []
    for run in runs:
        seen[run.title] += 1
        fresh = run.label in shared
        renamed.append(replace(run, label=name(run, seen[run.title])) if fresh else run)
    return renamed
