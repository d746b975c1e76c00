"""Simulated engines behind a dispatcher, in virtual time."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import inf

import numpy as np

from slosched.core.request import TracedRequest
from slosched.core.types import FloatArray
from slosched.dispatch import Dispatcher, FleetSolved, Replica
from slosched.sim.engine import SimulatedEngine
from slosched.sim.online import OnlineEngine
from slosched.sim.options import EngineOptions


class Fleet:
    """Engines that serve first come, first served, as the dispatcher sends them requests.

    Attributes
    ----------
    first, finish
        Of each request of the trace, s; NaN if it was not served.
    sent
        Where each was sent, in order.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        plan_s: float = 0.02,
        only: Mapping[str, AbstractSet[str]] | None = None,
    ) -> None:
        self.dispatcher, self.plan_s = dispatcher, plan_s
        self.only = only or {}
        options = EngineOptions("vllm-fcfs")
        self.engines = {
            replica.name: OnlineEngine(
                SimulatedEngine(None, replica.limits, replica.latency, options=options)
            )
            for replica in dispatcher.replicas
        }
        self._numbers: dict[tuple[str, int], TracedRequest] = {}
        self._solving: tuple[float, FleetSolved] | None = None

    def run(self, trace: Sequence[TracedRequest]) -> None:
        self.first: FloatArray = np.full(len(trace), np.nan)
        self.finish: FloatArray = np.full(len(trace), np.nan)
        self.sent: list[tuple[int, str]] = []
        self._index = {t.request.request_id: i for i, t in enumerate(trace)}
        self._of = {t.request.request_id: t for t in trace}
        coming = sorted(trace, key=lambda t: t.request.arrival)
        at = 0
        now = 0.0
        while True:
            for name, engine in self.engines.items():
                for said in engine.advance(now):
                    self._hear(name, said.number, said.tokens, said.at, over=said.over)
            while at < len(coming) and coming[at].request.arrival <= now:
                coming_now = coming[at].request
                self.dispatcher.submit(coming_now, only=self.only.get(coming_now.request_id))
                at += 1
            self._plan(now)
            for binding in self.dispatcher.release():
                self._send(binding.request_id, binding.replica, now)
            self._plan(now)
            nexts = [engine.next_at for engine in self.engines.values()]
            nexts.append(coming[at].request.arrival if at < len(coming) else inf)
            nexts.append(self._solving[0] if self._solving else inf)
            if (soonest := min(nexts)) == inf:
                return
            now = max(now, soonest)

    def _plan(self, now: float) -> None:
        if self._solving and self._solving[0] <= now:
            self.dispatcher.take(self._solving[1])
            self._solving = None
        if self._solving is None and self.dispatcher.wants_plan:
            self._solving = now + self.plan_s, self.dispatcher.job(now).solve()

    def _send(self, request_id: str, replica: Replica, now: float) -> None:
        number = self.engines[replica.name].submit(self._of[request_id], now)
        assert number is not None
        self._numbers[replica.name, number] = self._of[request_id]
        self.sent.append((self._index[request_id], replica.name))

    def _hear(self, name: str, number: int, tokens: int, at: float, *, over: bool) -> None:
        request_id = self._numbers[name, number].request.request_id
        i = self._index[request_id]
        if tokens == 1:
            self.first[i] = at
        self.dispatcher.on_token(request_id, tokens, at)
        if over:
            self.finish[i] = at
            self.dispatcher.on_complete(request_id, tokens, at)


def attained(trace: Sequence[TracedRequest], fleet: Fleet) -> float:
    """Share of the requests that kept all their limits."""
    met = 0
    for traced, first, finish in zip(trace, fleet.first, fleet.finish, strict=True):
        request = traced.request
        tpot = (finish - first) / max(traced.output_tokens - 1, 1)
        met += request.slo.attained(first - request.arrival, tpot, finish - request.arrival)
    return met / len(trace)
