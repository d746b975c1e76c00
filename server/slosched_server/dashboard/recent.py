"""The requests that ended in the last minutes, and those that are under way."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from starlette.types import Scope

from slosched.core.errors import SloschedError
from slosched_server.limits import broken_limits
from slosched_server.progress import Outcome
from slosched_server.upstream import Job

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
LIMITS = ("ttft", "tpot", "e2e")  # bit k of `broken` is the k-th
ENDED = np.dtype(
    [
        ("slo_class", np.int32),  # number of its name
        ("replica", np.int32),  # number of its name; that of "" where nobody got it
        ("outcome", np.int8),  # index in OUTCOMES
        ("broken", np.int8),  # limits, by bits
        ("stream", np.bool_),
        ("arrival", np.float64),  # s
        ("sent", np.float64),  # s: to an engine
        ("first", np.float64),  # s: first token; NaN where none was seen
        ("end", np.float64),  # s
        ("input_tokens", np.int64),
        ("tokens", np.int64),  # of the answer, as far as is known
        ("ttft", np.float64),  # limits, s; inf where there is none
        ("tpot", np.float64),
        ("e2e", np.float64),
    ]
)
Rows = NDArray[Any]  # of ENDED
_FINISHED = OUTCOMES.index("finished")
_UNDECIDED = frozenset({"rejected", "cancelled"})
_BIN_S, _BINS = 10.0, 30  # of the history: five minutes


@dataclass(slots=True)
class Tally:
    """How many requests of a class there were whose SLO could be kept, and how many kept it."""

    counted: int = 0
    attained: int = 0

    def add(self, *, attained: bool) -> None:
        """Count one."""
        self.counted += 1
        self.attained += attained


@dataclass(slots=True)
class _OfClass:
    """A class: since the start, and bin by bin."""

    total: Tally = field(default_factory=Tally)
    bins: deque[tuple[int, Tally]] = field(default_factory=lambda: deque(maxlen=_BINS))

    def add(self, now: float, *, attained: bool) -> None:
        at = int(now // _BIN_S)
        if not self.bins or self.bins[-1][0] != at:
            self.bins.append((at, Tally()))
        self.bins[-1][1].add(attained=attained)
        self.total.add(attained=attained)


class Recent:
    """Remembers what was served, in a bounded memory: the newest requests that ended.

    Who was refused by the engine, or gave up before a limit was broken, counts for no attainment.

    Parameters
    ----------
    size
        How many it remembers.

    Attributes
    ----------
    names
        Of classes and replicas, by number.
    """

    def __init__(self, size: int = 16_384) -> None:
        self._rows: Rows = np.zeros(size, dtype=ENDED)
        self._ended = 0
        self._numbers: dict[str, int] = {}
        self._classes: dict[str, _OfClass] = {}
        self._underway: dict[int, Job] = {}

    @property
    def names(self) -> list[str]:
        """Of classes and replicas, by number."""
        return list(self._numbers)

    @property
    def underway(self) -> Iterable[Job]:
        """The requests that have not ended, in order of arrival."""
        return self._underway.values()

    @property
    def totals(self) -> Mapping[str, Tally]:
        """Of each class since the start."""
        return {name: of.total for name, of in self._classes.items()}

    def begin(self, job: Job, scope: Scope) -> None:
        """Hear that a request came."""
        del scope
        self._underway[id(job)] = job

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """Hear of a request that is of no class, and so of no account here."""

    def end(self, job: Job, now: float) -> None:
        """Hear that a request ended at `now`, s on the clock of its arrival."""
        self._underway.pop(id(job), None)
        progress, tag = job.progress, job.tag
        broken, outcome = broken_limits(job, now), progress.outcome
        if broken or outcome not in _UNDECIDED:
            of = self._classes.setdefault(tag.slo_class, _OfClass())
            of.add(now, attained=outcome == "finished" and not broken)
        self._rows[self._ended % len(self._rows)] = (
            self._number(tag.slo_class), self._number(progress.replica), OUTCOMES.index(outcome),
            sum(1 << LIMITS.index(name) for name in broken), progress.stream, progress.arrival,
            progress.arrival + progress.queued, nan if progress.first is None else progress.first,
            now, job.size.input_tokens, max(progress.tokens, progress.events),
            tag.slo.ttft, tag.slo.tpot, tag.slo.e2e,
        )  # fmt: skip
        self._ended += 1

    def since(self, moment: float) -> Rows:
        """Return those that ended at some moment or later and are remembered, the first first."""
        at = self._ended % len(self._rows)
        if self._ended <= len(self._rows):
            rows = self._rows[: self._ended]
        else:
            rows = np.concatenate((self._rows[at:], self._rows[:at]))
        return rows[np.searchsorted(rows["end"], moment) :].copy()

    def reaches(self, now: float) -> float:
        """Seconds before `now` from which on all that ended are remembered; inf if all ever."""
        if self._ended <= len(self._rows):
            return inf
        return now - float(self._rows["end"][self._ended % len(self._rows)])

    def history(self, slo_class: str, now: float) -> list[Tally | None]:
        """Return a class's tallies of ten seconds each, to now; None where nothing ended."""
        of = self._classes.get(slo_class)
        bins = dict(of.bins) if of else {}
        newest = int(now // _BIN_S)
        return [bins.get(at) for at in range(newest - _BINS + 1, newest + 1)]

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


def finished(rows: Rows) -> NDArray[np.bool_]:
    """Which ended with a whole answer, shape (n,)."""
    whole: NDArray[np.bool_] = rows["outcome"] == _FINISHED
    return whole


def attained(rows: Rows) -> NDArray[np.bool_]:
    """Which kept all their limits, shape (n,)."""
    kept: NDArray[np.bool_] = finished(rows) & (rows["broken"] == 0)
    return kept


def counted(rows: Rows) -> NDArray[np.bool_]:
    """Which count for attainment, shape (n,)."""
    undecided = np.isin(rows["outcome"], [OUTCOMES.index(name) for name in _UNDECIDED])
    counts: NDArray[np.bool_] = ~undecided | (rows["broken"] != 0)
    return counts
