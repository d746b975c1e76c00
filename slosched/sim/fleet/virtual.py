"""The fleet in virtual time: requests come, are shared out to queues, and are served."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf

import numpy as np

from slosched.core.request import TracedRequest
from slosched.core.types import FloatArray
from slosched.sim.fleet.shard import Shard
from slosched.sim.fleet.sharing import Sharing, chooser
from slosched.sim.join import histogram
from slosched.sim.records import Records, Spread

Progress = Callable[[int], None]
_TOLD_EVERY = 64  # requests


class VirtualFleet:
    """Serves one trace, on engines in one or several shards.

    Parameters
    ----------
    shards
        Fresh, at least one; each a queue before engines of its own.
    sharing
        Which of them gets a request.

    Raises
    ------
    ValueError
        If there is no shard.
    """

    def __init__(self, shards: Sequence[Shard], sharing: Sharing = "hash") -> None:
        if not shards:
            raise ValueError("shards must be at least one")
        self.shards = shards
        self._choose = chooser(sharing)

    def run(
        self,
        trace: Sequence[TracedRequest],
        progress: Progress | None = None,
        only: Mapping[str, frozenset[str]] | None = None,
    ) -> Records:
        """Serve a trace to its end.

        Parameters
        ----------
        trace
            In order of arrival; ids unique.
        progress
            Called with the number of requests that ended, now and then.
        only
            Names of the replicas that may get a request, by id; all, of whom nothing is said.

        Raises
        ------
        ValueError
            If the trace is not in order.
        """
        arrivals = [traced.request.arrival for traced in trace]
        if any(later < earlier for earlier, later in pairwise(arrivals)):
            raise ValueError("trace must be sorted by arrival")
        books, only = _Books(trace, progress), only or {}
        at, now = 0, -inf
        while True:
            coming = arrivals[at] if at < len(trace) else inf
            soonest = min(coming, *(shard.next_at for shard in self.shards))
            if soonest == inf:
                break
            now = max(now, soonest)
            for shard in self.shards:
                if shard.next_at <= now:
                    for traced, said in shard.advance(now):
                        books.hear(traced, said.tokens, said.at, over=said.over)
                    books.never(shard.pump(now))
            came = {}
            while at < len(trace) and arrivals[at] <= now:
                request = trace[at].request
                shard = self._choose(request, self.shards)
                shard.submit(trace[at], only.get(request.request_id))
                came[id(shard)] = shard
                at += 1
            for shard in came.values():
                books.never(shard.pump(now))
        return self._records(trace, books)

    def close(self) -> None:
        """Let predictors and engines end."""
        for shard in self.shards:
            shard.close()

    def _records(self, trace: Sequence[TracedRequest], books: "_Books") -> Records:
        engines = [e for shard in self.shards for e in shard.engines.simulated.values()]
        figures = [shard.figures for shard in self.shards]
        ages = [age for one in figures for age in one.ages]
        began = trace[0].request.arrival if len(trace) else 0.0
        ended = float(np.nanmax(books.finish, initial=began))
        failures = sum(m.event == "plan_failed" for s in self.shards for m in s.dispatcher.mishaps)
        return Records(
            trace, books.first, books.finish,
            np.array([traced.output_tokens for traced in trace], dtype=np.int64),
            histogram([engine.gaps for engine in engines]), ended - began,
            sum(engine.steps for engine in engines),
            sum(engine.preemptions for engine in engines), failures,
            sum(len(one.plan_s) for one in figures),
            Spread(len(ages), sum(ages), max(ages, default=0.0)),
            max(shard.dispatcher.snapshot(0.0, 0).margin for shard in self.shards),
        )  # fmt: skip


class _Books:
    """When each request's first token and its last came, s; NaN if they did not."""

    def __init__(self, trace: Sequence[TracedRequest], progress: Progress | None) -> None:
        self.first: FloatArray = np.full(len(trace), np.nan)
        self.finish: FloatArray = np.full(len(trace), np.nan)
        self._index = {traced.request.request_id: i for i, traced in enumerate(trace)}
        self._progress, self._over = progress, 0

    def hear(self, traced: TracedRequest, tokens: int, at: float, *, over: bool) -> None:
        if tokens != 1 and not over:
            return
        i = self._index[traced.request.request_id]
        if np.isnan(self.first[i]):
            self.first[i] = at
        if over:
            self.finish[i] = at
            self._is_over()

    def never(self, whom: Iterator[TracedRequest]) -> None:
        for _ in whom:
            self._is_over()

    def _is_over(self) -> None:
        self._over += 1
        if self._progress and (self._over % _TOLD_EVERY == 0 or self._over == len(self._index)):
            self._progress(self._over)
