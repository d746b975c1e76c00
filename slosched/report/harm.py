"""Who is worse off in a run than in the one that it is held against."""

from dataclasses import dataclass

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.report.requests import Requests
from slosched.report.runs import Run

SHOWN = 6  # of a class, in a table


@dataclass(frozen=True, slots=True)
class Trade:
    """What the requests of one class gained and lost.

    Parameters
    ----------
    lost, won
        Requests that met their SLO only there, and only here.
    slower
        Requests whose last token came later than there.
    """

    name: str
    requests: int
    lost: int
    won: int
    slower: int


@dataclass(frozen=True, slots=True)
class Hurt:
    """One request there and here; times in s, NaN for what never came."""

    name: str
    request_id: str
    input_tokens: float
    output_tokens: float
    ttft: tuple[float, float]
    e2e: tuple[float, float]
    met: tuple[bool, bool]
    slowdown: float


@dataclass(frozen=True)
class Harm:
    """A run held against another, request by request.

    Parameters
    ----------
    here, there
        The requests of the run, and of the one that it is held against.
    match
        Shape (n,): where each request of `here` stands in `there`.
    """

    here: Requests
    there: Requests
    match: IntArray

    @property
    def slowdown(self) -> FloatArray:
        """Times as long from arrival to the last token; infinite if it no longer comes."""
        now, before = self.here.e2e, self.there.e2e[self.match]
        gone = np.isnan(now) & ~np.isnan(before)
        ratio: FloatArray = now / np.where(before > 0, before, np.nan)
        ratio[gone] = np.inf
        return ratio

    @property
    def _lost(self) -> BoolArray:
        return self.there.met[self.match] & ~self.here.met

    def trades(self) -> list[Trade]:
        """Sum each class up."""
        lost, won = self._lost, self.here.met & ~self.there.met[self.match]
        slower = self.slowdown > 1
        return [
            Trade(name, len(rows), *(int(which[rows].sum()) for which in (lost, won, slower)))
            for name, rows in self.here.members.items()
        ]

    def lost(self) -> list[Hurt]:
        """Return, by class, those that no longer meet their SLO, the largest slowdowns first."""
        return self._worst(self._lost)

    def slowest(self) -> list[Hurt]:
        """Return, by class, the largest slowdowns."""
        return self._worst(self.slowdown > 1)

    def _worst(self, which: BoolArray) -> list[Hurt]:
        slowdown = self.slowdown
        worst: list[Hurt] = []
        for rows in self.here.members.values():
            some = rows[which[rows]]
            # Stable: of equal slowdowns who came first.
            order = np.argsort(-np.nan_to_num(slowdown[some], posinf=np.inf), kind="stable")
            worst.extend(self._hurt(int(row), slowdown) for row in some[order[:SHOWN]])
        return worst

    def _hurt(self, row: int, slowdown: FloatArray) -> Hurt:
        here, there, other = self.here, self.there, self.match[row]
        return Hurt(
            name=here.classes[row],
            request_id=here.ids[row],
            input_tokens=float(here.input_tokens[row]),
            output_tokens=float(here.output_tokens[row]),
            ttft=(float(there.ttft[other]), float(here.ttft[row])),
            e2e=(float(there.e2e[other]), float(here.e2e[row])),
            met=(bool(there.met[other]), bool(here.met[row])),
            slowdown=float(slowdown[row]),
        )


def harm(run: Run, reference: Run) -> Harm | None:
    """Hold a run against another; None if they are not of the same requests, or do not say."""
    here, there = run.requests, reference.requests
    if here is None or there is None or len(here) != len(there):
        return None
    match = [there.rows.get(request_id, -1) for request_id in here.ids]
    return None if -1 in match else Harm(here, there, np.array(match, dtype=np.int64))
