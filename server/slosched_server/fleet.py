"""Many engines behind one queue: requests wait for the replica that the dispatcher names."""

from collections.abc import Set as AbstractSet
from itertools import count
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.fleet_metrics import FleetMetrics
from slosched_server.gate import Gate
from slosched_server.members import Connect, Members
from slosched_server.rules import FleetRules, Rules
from slosched_server.upstream import Job
from slosched_server.visit import Visit
from slosched_server.waiting_room import WaitingRoom


class Fleet:
    """Replicas behind one queue; use it as an async context manager.

    Whoever is not bound yet costs nothing to wait but memory.

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
    metrics
        Told of what becomes of requests.
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
        self.metrics = FleetMetrics(registry or CollectorRegistry(), dispatcher)
        self._room = WaitingRoom(dispatcher, rules.plan_every_s, self.metrics)
        self._gate = Gate(self._room, rules.overload)
        self.members = Members(
            dispatcher,
            connect,
            probe_every_s=rules.probe_every_s,
            probe_timeout_s=probe_timeout_s,
            changed=self._room.pump,
        )
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

    def visit(self, job: Job, only: AbstractSet[str] | None = None) -> Visit:
        """Make the stay of a request, which some replicas only may get if these are named."""
        return Visit(self._room, self._gate, job, self._ids, only)

    def turn_away(self, error: Exception) -> int:
        """Let all who wait hear an error in place of a replica; return how many these are."""
        return self._room.turn_away(error)
