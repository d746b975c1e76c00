"""Simulated engines behind a dispatcher, in virtual time."""

from collections.abc import Mapping, Sequence

from slosched.core.request import TracedRequest
from slosched.dispatch import Dispatcher
from slosched.sim.engine import SimulatedEngine
from slosched.sim.fleet import Pace, Shard, VirtualFleet
from slosched.sim.options import EngineOptions
from slosched.sim.records import Records


class Fleet:
    """Engines that serve first come, first served, as the dispatcher sends them requests.

    Attributes
    ----------
    records
        What became of the trace, in order of arrival.
    sent
        Where each was sent, in order.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        plan_s: float = 0.02,
        only: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.dispatcher, self.only = dispatcher, only
        options = EngineOptions("vllm-fcfs")
        engines = {
            replica.name: SimulatedEngine(None, replica.limits, replica.latency, options=options)
            for replica in dispatcher.replicas
        }
        self.shard = Shard(dispatcher, engines, Pace(plan_every_s=0.0, plan_s=plan_s))

    def run(self, trace: Sequence[TracedRequest]) -> Records:
        coming = sorted(trace, key=lambda t: t.request.arrival)
        self.records = VirtualFleet([self.shard]).run(coming, only=self.only)
        index = {t.request.request_id: i for i, t in enumerate(trace)}
        self.sent = [(index[request_id], name) for request_id, name in self.shard.sent]
        return self.records
