"""Splitting a trace over replicas, once and for all: what each gets depends on arrivals alone."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import numpy as np

from slosched.config.schema import Settings
from slosched.core.protocols import Learner, Predictor
from slosched.core.request import TracedRequest
from slosched.core.types import FloatArray, IntArray
from slosched.whatif.alone import times_alone
from slosched.whatif.choices import Routing


def split(
    trace: Sequence[TracedRequest], replicas: int, routing: Routing, settings: Settings, seed: int
) -> list[list[TracedRequest]]:
    """Give every request to one of some engines that are all alike.

    Parameters
    ----------
    trace
        In order of arrival.
    settings
        Of each engine; `least_work` predicts by them.
    seed
        Draws where `random` sends a request.

    Returns
    -------
    For each replica its requests, in order of arrival; some may be empty.
    """
    n = len(trace)
    if routing == Routing.round_robin or replicas == 1:
        chosen: IntArray = np.arange(n, dtype=np.int64) % replicas
    elif routing == Routing.random:
        chosen = np.random.default_rng(seed).integers(replicas, size=n)
    else:
        chosen = np.fromiter(_least_work(trace, replicas, settings), dtype=np.int64, count=n)
    parts: list[list[TracedRequest]] = [[] for _ in range(replicas)]
    for traced, replica in zip(trace, chosen.tolist(), strict=True):
        parts[replica].append(traced)
    return parts


def _least_work(trace: Sequence[TracedRequest], replicas: int, settings: Settings) -> Iterator[int]:
    """Send each request to where the least predicted work is left.

    A request's work is what it takes of an engine whose slots are all taken, and a replica does a
    second of work in a second. Among replicas with nothing to do, the one that was given least is
    next. Lengths are those that the configured predictor expects on arrival; one that learns is
    told of an answer when it would be out: after the work before it, alone on the engine.
    """
    lengths = _Lengths(settings.lengths(trace), trace)
    seconds = _Work(settings)
    alone = times_alone(trace, settings)[1].tolist()
    until, given = np.zeros(replicas), np.zeros(replicas)
    for i, traced in enumerate(trace):
        now = traced.request.arrival
        left = np.maximum(until - now, 0.0)
        replica = int(np.lexsort((given, left))[0])
        work = seconds.of(traced.request.input_tokens, lengths.expected(i, now))
        until[replica] = now + left[replica] + work
        given[replica] += work
        lengths.ends(i, now + left[replica] + alone[i])
        yield replica


class _Work:
    """Seconds that a request takes of an engine with all slots taken."""

    def __init__(self, settings: Settings) -> None:
        latency = settings.latency()
        self._prompt = latency.per_prefill_token
        self._token = latency.base / settings.engine.max_num_seqs + latency.per_sequence
        self._context = latency.per_context_token

    def of(self, prompt: float, answer: float) -> float:
        """Its prompt's tokens, and its share of the steps in which it decodes."""
        return prompt * self._prompt + answer * (
            self._token + self._context * (prompt + answer / 2)
        )


class _Lengths:
    """What a predictor expects of requests as they arrive."""

    def __init__(self, predictor: Predictor, trace: Sequence[TracedRequest]) -> None:
        self._predictor = predictor
        self._learner = predictor if isinstance(predictor, Learner) else None
        self._trace = trace
        self._out: list[tuple[float, int]] = []  # when answers are out, of which requests
        # One that does not learn says the same now as later.
        self._known = self._ask(range(len(trace))) if self._learner is None else None

    def expected(self, i: int, now: float) -> float:
        """Output tokens of a request that arrives now."""
        if self._known is not None:
            return float(self._known[i])
        while self._learner and self._out and self._out[0][0] <= now:
            traced = self._trace[heappop(self._out)[1]]
            self._learner.observe(traced.request, traced.output_tokens)
        return float(self._ask([i])[0])

    def ends(self, i: int, at: float) -> None:
        """Take note of when an answer will be out; never, if infinite."""
        if self._learner and at < np.inf:
            heappush(self._out, (at, i))

    def _ask(self, rows: Sequence[int]) -> FloatArray:
        requests = [self._trace[i].request for i in rows]
        left = np.asarray(self._predictor.remaining(requests, np.zeros(len(rows), dtype=np.int64)))
        return left if left.ndim == 1 else left.mean(axis=1)
