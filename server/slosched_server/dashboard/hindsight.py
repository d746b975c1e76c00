"""The last minute once more by a model: as it was served, and first come, first served."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import inf

import numpy as np
from numpy.typing import NDArray

from slosched.core.fleet import NOWHERE, Engine
from slosched.core.latency import LinearLatency
from slosched.core.past import Past, Replay
from slosched.core.slo import TOLERANCE
from slosched.core.snapshot import EngineLimits
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.dispatch import Dispatcher
from slosched_server.dashboard.recent import Recent, Rows, attained, finished
from slosched_server.upstream import Job

MINUTE_S = 60.0
_BEFORE_S = 60.0  # of requests that take up room, though they do not count any more
_MOST_UNDERWAY = 2000  # the newest; more would hold the event loop up
_SOME = 1.0 + TOLERANCE


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What the order of the last minute was worth.

    Parameters
    ----------
    requests
        That came in the minute, and were not refused, given up or failed.
    as_served, fcfs
        How many of them keep their SLO by the model: in the order and at the replicas that were
        really used, and first come, first served by whoever has room first.
    measured, pending
        How many of them really did, and of how many that is not known yet.
    left_out
        Requests that ended otherwise, and are in neither.
    seconds
        That this took to work out.
    """

    requests: int
    as_served: int
    fcfs: int
    measured: int
    pending: int
    left_out: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HindsightJob:
    """The question, to be answered in any thread; arrays of shape (n,).

    Parameters
    ----------
    sent
        When each was sent to a replica, or is to be by the plan, s.
    place
        To which engine; NOWHERE if that is open.
    limits
        Of ttft, tpot and e2e, s, shape (3, n).
    counts, met, pending
        Who came in the minute, who kept all limits, and of whom that is not known yet.
    """

    past: Past
    engines: Sequence[Engine]
    replay: Replay
    sent: FloatArray
    place: IntArray
    limits: FloatArray
    counts: BoolArray
    met: BoolArray
    pending: BoolArray
    left_out: int

    def answer(self) -> Hindsight:
        """Serve them twice."""
        began = time.perf_counter()
        anywhere = np.full(len(self.past), NOWHERE)
        return Hindsight(
            int(self.counts.sum()),
            self._kept(self.sent, self.place),
            self._kept(self.past.arrival, anywhere),
            int((self.counts & self.met).sum()),
            int((self.counts & self.pending).sum()),
            self.left_out,
            time.perf_counter() - began,
        )

    def _kept(self, turn: FloatArray, place: IntArray) -> int:
        first, finish = self.replay(self.past, self.engines, turn, place)
        arrival, tokens = self.past.arrival, self.past.output_tokens
        pace = (finish - first) / np.maximum(tokens - 1, 1)
        times = np.array([first - arrival, pace, finish - arrival])
        kept = (times <= self.limits * _SOME).all(axis=0)
        return int((self.counts & kept).sum())


def hindsight(
    recent: Recent, dispatcher: Dispatcher, replay: Replay, now: float
) -> HindsightJob | None:
    """Ask about the last minute; None if nothing came in it, or no replica is ready."""
    ready = list(dispatcher.ready)
    places = {replica.name: at for at, replica in enumerate(ready)}
    minute = recent.since(now - MINUTE_S)
    rows = recent.since(now - MINUTE_S - _BEFORE_S)
    rows = rows[finished(rows)]
    jobs = list(recent.underway)
    jobs = list(islice(jobs, max(len(jobs) - _MOST_UNDERWAY, 0), None))
    asked = _Asked.ended(rows, recent.names, places) + _Asked.live(jobs, dispatcher, places, now)
    counts = asked.arrival >= now - MINUTE_S
    if not counts.any() or not ready:
        return None
    return HindsightJob(
        Past(asked.arrival, asked.input_tokens, asked.tokens),
        [replica.engine() for replica in ready], replay, asked.sent, asked.place, asked.limits,
        counts, asked.met, asked.pending, int((~finished(minute)).sum()),
    )  # fmt: skip


def rehearse(replay: Replay) -> None:
    """Serve somebody who never came, so that nobody waits for compilers later."""
    one, moment = np.ones(1, dtype=np.int64), np.zeros(1)
    engine = Engine(EngineLimits(), LinearLatency(1.0, 0.0, 0.0, 0.0))
    replay(Past(moment, one, one), [engine], moment, np.full(1, NOWHERE))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Requests, column by column."""

    arrival: FloatArray
    input_tokens: IntArray
    tokens: IntArray
    sent: FloatArray
    place: IntArray
    limits: FloatArray  # (3, n)
    met: BoolArray
    pending: BoolArray

    def __add__(self, other: "_Asked") -> "_Asked":
        mine, theirs = asdict(self), asdict(other)
        return _Asked(**{k: np.concatenate((mine[k], theirs[k]), axis=-1) for k in mine})

    @classmethod
    def ended(cls, rows: Rows, names: Sequence[str], places: Mapping[str, int]) -> "_Asked":
        place = np.array([places.get(name, NOWHERE) for name in names] or [NOWHERE])
        limits = np.array([rows["ttft"], rows["tpot"], rows["e2e"]])
        limits[:2, ~rows["stream"]] = inf  # nobody could tell
        return cls(
            rows["arrival"], rows["input_tokens"], np.maximum(rows["tokens"], 1), rows["sent"],
            place[rows["replica"]], limits, attained(rows), np.zeros(len(rows), dtype=np.bool_),
        )  # fmt: skip

    @classmethod
    def live(
        cls, jobs: Sequence[Job], dispatcher: Dispatcher, places: Mapping[str, int], now: float
    ) -> "_Asked":
        of = [_live(job, dispatcher, now) for job in jobs]
        columns: NDArray[np.float64] = np.array(of, dtype=np.float64).reshape(-1, _FIELDS).T
        arrival, input_tokens, tokens, sent, ttft, tpot, e2e, pending = columns
        place = [places.get(job.progress.replica, NOWHERE) for job in jobs]
        return cls(
            arrival, input_tokens.astype(np.int64), tokens.astype(np.int64), sent,
            np.array(place, dtype=np.int64), np.array([ttft, tpot, e2e]),
            np.zeros(len(jobs), dtype=np.bool_), pending.astype(np.bool_),
        )  # fmt: skip


_FIELDS = 8


def _live(job: Job, dispatcher: Dispatcher, now: float) -> tuple[float, ...]:
    """Return what is known of a request that has not ended."""
    progress, slo = job.progress, job.tag.slo
    tokens = dispatcher.expected_tokens(progress.queued_as) or 1
    sent = progress.arrival + progress.queued
    if not progress.replica:
        outlook = dispatcher.outlook(progress.queued_as)
        sent = inf if outlook is None else outlook[0]
    ttft, tpot = (slo.ttft, slo.tpot) if progress.stream else (inf, inf)
    first = now if progress.first is None else progress.first
    late = first - progress.arrival > ttft or now - progress.arrival > slo.e2e
    return (
        progress.arrival, job.size.input_tokens, max(tokens, progress.events + 1), sent,
        ttft, tpot, slo.e2e, not late,
    )  # fmt: skip
