"""The last minute once more by a model: as it was served, and first come, first served."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import inf, nan

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
_FITS = 3
_FARTHEST = 20.0  # factor
_ALL_THERE_ARE = 2**40  # blocks


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What the order of the last minute was worth.

    Parameters
    ----------
    requests
        That came in the minute, and were not refused, given up or failed.
    as_served, fcfs
        How many of them keep their SLO by the model: sent when and where they really were, and
        first come, first served by whoever has room first.
    measured, pending
        How many of them really did, and of how many that is not known yet.
    left_out
        Requests that ended otherwise, and are in neither.
    scaled
        By how much the steps of each replica's model were made longer for both, so that answers
        take as long as they really did.
    seconds
        That this took to work out.
    """

    requests: int
    as_served: int
    fcfs: int
    measured: int
    pending: int
    left_out: int
    scaled: Sequence[float]
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
    end
        When each ended, s; NaN for who has not.
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
    end: FloatArray
    limits: FloatArray
    counts: BoolArray
    met: BoolArray
    pending: BoolArray
    left_out: int

    def answer(self) -> Hindsight:
        """Serve them twice, by engines that are as fast as they were."""
        began = time.perf_counter()
        scaled = self._fitted()
        engines = self._scaled(scaled)
        anywhere = np.full(len(self.past), NOWHERE)
        return Hindsight(
            int(self.counts.sum()),
            self._kept(*self._as_served(scaled)),
            self._kept(*self.replay(self.past, engines, self.past.arrival, anywhere)),
            int((self.counts & self.met).sum()),
            int((self.counts & self.pending).sum()),
            self.left_out,
            scaled.tolist(),
            time.perf_counter() - began,
        )

    def _fitted(self) -> FloatArray:
        """Find by which factors steps have to be longer, so that answers take as long as they did.

        Each engine has the batches that it really had, and so an error in one answer is none in
        those that follow: the factor is that between times, again for the batches that it makes.
        """
        scaled = np.ones(len(self.engines))
        took = self.end - self.sent
        for _ in range(_FITS):
            _, finish = self._as_served(scaled)
            for r in range(len(scaled)):
                here = (self.place == r) & ~np.isnan(self.end)
                if here.any():
                    factor = took[here].sum() / (finish - self.sent)[here].sum()
                    scaled[r] = min(max(scaled[r] * factor, 1 / _FARTHEST), _FARTHEST)
        return scaled

    def _as_served(self, scaled: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Begin with each request when and where it was sent, whoever is there as well."""
        sent = Past(self.sent, self.past.input_tokens, self.past.output_tokens)
        roomy = [
            replace(
                one,
                limits=replace(
                    one.limits,
                    max_num_seqs=one.limits.max_num_batched_tokens,
                    num_kv_blocks=_ALL_THERE_ARE,
                ),
            )
            for one in self._scaled(scaled)
        ]
        return self.replay(sent, roomy, self.sent, self.place)

    def _scaled(self, scaled: FloatArray) -> list[Engine]:
        pairs = zip(self.engines, scaled.tolist(), strict=True)
        return [replace(one, latency=one.latency.slower(factor)) for one, factor in pairs]

    def _kept(self, first: FloatArray, finish: FloatArray) -> int:
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
    asked = asked.known()
    counts = asked.arrival >= now - MINUTE_S
    if not counts.any() or not ready:
        return None
    return HindsightJob(
        Past(asked.arrival, asked.input_tokens, asked.tokens),
        [replica.engine() for replica in ready], replay, asked.sent, asked.place, asked.end,
        asked.limits, counts, asked.met, asked.pending,
        int((~finished(minute)).sum()),
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
    end: FloatArray
    limits: FloatArray  # (3, n)
    met: BoolArray
    pending: BoolArray

    def __add__(self, other: "_Asked") -> "_Asked":
        mine, theirs = asdict(self), asdict(other)
        return _Asked(**{k: np.concatenate((mine[k], theirs[k]), axis=-1) for k in mine})

    def known(self) -> "_Asked":
        """Leave out of whom no plan says when they are sent."""
        kept = np.isfinite(self.sent)
        return _Asked(**{name: column[..., kept] for name, column in asdict(self).items()})

    @classmethod
    def ended(cls, rows: Rows, names: Sequence[str], places: Mapping[str, int]) -> "_Asked":
        place = np.array([places.get(name, NOWHERE) for name in names] or [NOWHERE])
        limits = np.array([rows["ttft"], rows["tpot"], rows["e2e"]])
        limits[:2, ~rows["stream"]] = inf  # nobody could tell
        return cls(
            rows["arrival"], rows["input_tokens"], np.maximum(rows["tokens"], 1), rows["sent"],
            place[rows["replica"]], rows["end"], limits, attained(rows),
            np.zeros(len(rows), dtype=np.bool_),
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
            np.array(place, dtype=np.int64), np.full(len(jobs), nan), np.array([ttft, tpot, e2e]),
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
