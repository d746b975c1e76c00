"""Many engines as one upstream."""

from contextlib import AbstractAsyncContextManager

from slosched_server.fleet import Fleet
from slosched_server.sending import Sending
from slosched_server.unplanned import Unplanned
from slosched_server.upstream import UpstreamAnswer, UpstreamRequest


class FleetUpstream:
    """Answers requests by sending them to replicas of a fleet.

    Before the first byte of an answer a request whose replica fails is sent to another one, once;
    after it, it breaks off.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._unplanned = Unplanned()

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Let a request wait, send it, and stream its answer; see `Upstream`."""
        fleet, job = self._fleet, request.job
        if job is None:
            return self._unplanned.send(request, fleet.members.ready)
        visit = fleet.visit(job)
        return Sending(fleet.metrics, fleet.dispatcher, fleet.members, visit, request, job)
