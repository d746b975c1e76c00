"""Many engines as one upstream: requests wait for the replica that the dispatcher names."""

from contextlib import AbstractAsyncContextManager
from itertools import count
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.fleet_metrics import FleetMetrics
from slosched_server.gate import Gate
from slosched_server.members import Connect, Members
from slosched_server.rules import FleetRules, Rules
from slosched_server.sending import Sending
from slosched_server.unplanned import Unplanned
from slosched_server.upstream import UpstreamAnswer, UpstreamRequest
from slosched_server.visit import Visit
from slosched_server.waiting_room import WaitingRoom


class FleetUpstream:
    """Replicas behind one queue; use it as an async context manager.

    Whoever is not bound yet costs nothing to wait but memory. Before the first byte of an answer
    a request whose replica fails is sent to another one, once; after it, it breaks off.

    Parameters
    ----------
    dispatcher
        Who goes where; the replicas are added on entering.
    rules
        The replicas, the bounds of the queue, and how often it is looked after.
    connect
        Opens the way to a replica.
    probe_timeout_s
        Seconds that a look at a replica may take.
    registry
        Where the metrics live; a fresh one by default.

    Attributes
    ----------
    members
        The replicas.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        rules: FleetRules,
        connect: Connect,
        *,
        probe_timeout_s: float = 5.0,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.dispatcher = dispatcher
        dispatcher.change(rules.assignment, rules.fairness)
        self._rules = rules
        self._metrics = FleetMetrics(registry or CollectorRegistry(), dispatcher)
        self._room = WaitingRoom(dispatcher, rules.plan_every_s, self._metrics)
        self._gate = Gate(self._room, rules.overload)
        self.members = Members(
            dispatcher,
            connect,
            probe_every_s=rules.probe_every_s,
            probe_timeout_s=probe_timeout_s,
            changed=self._room.pump,
        )
        self._unplanned = Unplanned()
        self._ids = count()

    async def __aenter__(self) -> Self:
        """Let the replicas take part."""
        for member in self._rules.members:
            await self.members.add(member)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.members.close()
        await self._room.close()

    def apply(self, rules: Rules) -> None:
        """Go by other rules from now on; whoever waits keeps waiting."""
        new, old = rules.fleet, self._rules
        if new is None:
            return
        self._rules = new
        predictor = None if new.lengths == old.lengths else new.lengths.build()
        self.dispatcher.change(new.assignment, new.fairness, predictor)
        self._gate.overload, self._room.plan_every_s = new.overload, new.plan_every_s
        self.members.probe_every_s = new.probe_every_s
        self.members.configure(new.members)
        self._room.pump()

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Let a request wait, send it, and stream its answer; see `Upstream`."""
        if request.job is None:
            return self._unplanned.send(request, self.members.ready)
        visit = Visit(self._room, self._gate, request.job, self._ids)
        return Sending(self._metrics, self.dispatcher, self.members, visit, request, request.job)
