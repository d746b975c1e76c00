"""What plans expect of each request, and what comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal, NamedTuple

import numpy as np

from slosched.core.plan import Plan
from slosched.core.types import FloatArray, LiveArray
from slosched.planner.job import Job
from slosched.planner.ranks import still_there


class _Said(NamedTuple):
    """What a plan said of a request."""

    serial: int = -1  # of the request that the rest is about
    first_from: float = nan  # when the plan was made that said this, s
    first: float = nan  # when the first token was to come, s; NaN if nothing was said
    finish_from: float = nan
    finish: float = nan
    tokens: int = 0  # output tokens that were to come until the finish
    produced: int = 0  # that were out when it was said


_SAID = np.dtype([(name, np.dtype(of)) for name, of in _Said.__annotations__.items()])
_NOTHING = np.array(_Said(), dtype=_SAID)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that a plan said, and when it came.

    Parameters
    ----------
    what
        Of which kind it is.
    said_at, expected, actual
        When the plan was made, when the thing was to come by it, and when it came, s.
    share
        Output tokens that came by then, over those that the plan expected.
    """

    what: Literal["first_token", "finish"]
    said_at: float
    expected: float
    actual: float
    share: float = 1.0

    @property
    def error(self) -> float:
        """Seconds too late; negative if it was early."""
        return self.actual - self.expected

    @property
    def horizon(self) -> float:
        """Seconds that it was to take, had the length been predicted exactly."""
        return (self.expected - self.said_at) * self.share

    @property
    def stretch(self) -> float:
        """What it took over what it was to take; without blame for a length predicted wrong."""
        return (self.actual - self.said_at) / self.horizon


class Expectations:
    """Remembers what plans said and holds it against what happened.

    Of a first token, the first plan counts that knew the request: what its client could have been
    told. Later plans change that for reasons that have nothing to do with the engine's speed.

    Of a finish, the last plan before the request got its slot counts, or else the first after. By
    then nobody's arrival changes its place, so what makes it late is how long steps take; that is
    what margins are learnt from. In simulated overload with steps exactly as believed, finishes
    took 1.00 times what such plans said in the median, first tokens of waiting requests 2 to 4
    times.
    """

    def __init__(self) -> None:
        self._said = np.empty(0, dtype=_SAID)
        self._awaited = np.empty(0, dtype=np.int64)  # rows whose first token is to come
        self._ended: list[tuple[float, float, float]] = []

    def note(self, rows: LiveArray, job: Job, plan: Plan) -> None:
        """Remember what a plan says that comes into force; nothing if it says nothing."""
        if plan.first is None or plan.finish is None:
            return
        self._make_room(len(rows))
        there = still_there(rows, job)
        at, now = job.rows[there], job.snapshot.now
        said = self._said[at]
        new = said["serial"] != rows["serial"][at]
        said[new] = _NOTHING
        said["serial"] = rows["serial"][at]
        unsaid = np.isnan(said["first"]) & np.isnan(rows["first_token"][at])
        _say(said, "first", unsaid, now, plan.first[there])
        open_ = ~rows["running"][at] | np.isnan(said["finish"])
        _say(said, "finish", open_, now, plan.finish[there])
        said["tokens"][open_] = job.snapshot.remaining[there][open_]
        said["produced"][open_] = job.snapshot.produced[there][open_]
        self._said[at] = said
        self._awaited = np.flatnonzero(~np.isnan(self._said["first"]))

    def ended(self, rows: LiveArray, row: int, output_tokens: int) -> Iterator[Outcome]:
        """Hear that a request came to its end, before its row is given up.

        Nobody says when: it is the time of the next `outcomes`, or unknown after `forget_ended`.
        """
        yield from self._first_token(rows, row)
        said = self._said_of(rows, row)
        share = (output_tokens - said.produced) / max(said.tokens, 1)
        self._ended.append((said.finish_from, said.finish, share))

    def forget_ended(self) -> None:
        """Give up on those whose end nobody will be told in time."""
        self._ended.clear()

    def outcomes(self, rows: LiveArray, now: float) -> Iterator[Outcome]:
        """Yield what came true since this was last asked, on the step that ended at `now`."""
        if not len(self._said):  # no plan ever said anything
            return
        awaited = self._awaited
        for row in awaited[~np.isnan(rows["first_token"][awaited])].tolist():
            yield from self._first_token(rows, row)
        ended, self._ended = self._ended, []
        for said_at, expected, share in ended:
            if expected > said_at and share > 0:
                yield Outcome("finish", said_at, expected, now, share)

    def _first_token(self, rows: LiveArray, row: int) -> Iterator[Outcome]:
        said, actual = self._said_of(rows, row), float(rows["first_token"][row])
        if isnan(said.first) or isnan(actual):
            return
        self._said["first"][row] = np.nan
        if said.first > said.first_from:
            yield Outcome("first_token", said.first_from, said.first, actual)

    def _said_of(self, rows: LiveArray, row: int) -> _Said:
        """Return what was said of the request in a row: nothing, if it was of another."""
        if row >= len(self._said) or self._said["serial"][row] != rows["serial"][row]:
            return _Said()
        return _Said(*self._said[row].item())

    def _make_room(self, capacity: int) -> None:
        if capacity > len(self._said):
            more = np.full(capacity - len(self._said), _NOTHING, dtype=_SAID)
            self._said = np.concatenate((self._said, more))


def _say(said: LiveArray, what: str, where: np.ndarray, now: float, in_: FloatArray) -> None:
    at = np.where(np.isfinite(in_), now + in_, np.nan)
    said[what][where] = at[where]
    said[f"{what}_from"][where] = now
