"""What plans said, held against what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal, NamedTuple

import numpy as np

from slosched.core.plan import Plan
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray


class _Said(NamedTuple):
    """What was said of the request in a row."""

    serial: int = -1
    first_from: float = nan  # when the plan was made that said this, s
    first: float = nan  # when the first token was to come, s; NaN if nothing was said
    finish_from: float = nan
    finish: float = nan
    tokens: int = 0  # output tokens that were to come until the finish
    produced: int = 0  # that were out when it was said


_SAID = np.dtype([(name, np.dtype(of)) for name, of in _Said.__annotations__.items()])
_NOTHING = np.array(_Said(), dtype=_SAID)


class Ended(NamedTuple):
    """A request that came to its end.

    Parameters
    ----------
    row, serial
        Which row of the table it had, and its serial there.
    first_token, at
        When its first token and its last came, s.
    output_tokens
        How long it came to be.
    """

    request: Request
    row: int
    serial: int
    first_token: float
    at: float
    output_tokens: int


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
        from slosched.planner import kernels  # brings numba

        self._kernels = kernels
        self._said = np.empty(0, dtype=_SAID)  # by row of the table

    def note(self, snapshot: Snapshot, rows: IntArray, plan: Plan) -> None:
        """Remember what a plan says of each row's request; nothing if it says nothing."""
        if plan.first is None or plan.finish is None:
            return
        self._make_room(int(rows.max(initial=-1)) + 1)
        first, finish = (np.ascontiguousarray(x, np.float64) for x in (plan.first, plan.finish))
        self._kernels.note(self._said, rows, snapshot.live, snapshot.now, first, finish)

    def forget(self, said_at: float) -> None:
        """Let everything be unsaid that was said at some time."""
        for what in ("first", "finish"):
            self._said[what][self._said[f"{what}_from"] == said_at] = np.nan

    def first_tokens(self, snapshot: Snapshot, rows: IntArray) -> Iterator[Outcome]:
        """Yield the first tokens that came since this was last asked, by those who still live."""
        for k in self._kernels.came(self._said, rows, snapshot.live).tolist():
            yield from self._first_token(int(rows[k]), float(snapshot.first_token[k]))

    def ended(self, ended: Ended) -> Iterator[Outcome]:
        """Yield what came true of a request that came to its end."""
        if ended.row >= len(self._said) or self._said["serial"][ended.row] != ended.serial:
            return
        yield from self._first_token(ended.row, ended.first_token)
        said = _Said(*self._said[ended.row].item())
        share = (ended.output_tokens - said.produced) / max(said.tokens, 1)
        if said.finish > said.finish_from and share > 0:
            yield Outcome("finish", said.finish_from, said.finish, ended.at, share)

    def _first_token(self, row: int, actual: float) -> Iterator[Outcome]:
        said = _Said(*self._said[row].item())
        if isnan(said.first) or isnan(actual):
            return
        self._said["first"][row] = nan
        if said.first > said.first_from:
            yield Outcome("first_token", said.first_from, said.first, actual)

    def _make_room(self, rows: int) -> None:
        if rows > len(self._said):
            more = np.full(max(rows, 2 * len(self._said)) - len(self._said), _NOTHING, dtype=_SAID)
            self._said = np.concatenate((self._said, more))
