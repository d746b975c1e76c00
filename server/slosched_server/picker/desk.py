"""What all requests at a picker share."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from slosched.dispatch import Replica
from slosched_server.fleet import Fleet
from slosched_server.picker.endings import Endings
from slosched_server.picker.endpoints import Endpoints
from slosched_server.picker.refusals import no_endpoint, not_leading
from slosched_server.rules import RulesInForce
from slosched_server.watcher import Watcher


class Desk:
    """The queue, and what requests are held to before they enter it.

    Parameters
    ----------
    fleet
        The queue and the replicas.
    in_force
        How requests are read.
    watcher
        Told of them.
    max_body_bytes
        The largest body that is accepted.

    Attributes
    ----------
    endpoints
        Where replicas are.
    endings
        Told of streams that end.
    busy
        Exchanges that are going on.
    is_open
        Whether requests are taken.
    """

    def __init__(
        self, fleet: Fleet, in_force: RulesInForce, watcher: Watcher, max_body_bytes: int
    ) -> None:
        self.fleet, self.in_force, self.watcher = fleet, in_force, watcher
        self.max_body_bytes = max_body_bytes
        self.endpoints = Endpoints(fleet.members, fleet.dispatcher)
        self.endings = Endings()
        self.busy = 0
        self.is_open = False

    def open(self) -> None:
        """Take requests."""
        self.is_open = True

    def close(self) -> int:
        """Take no more, and let those who wait try elsewhere; return how many these are."""
        self.is_open = False
        return self.fleet.turn_away(not_leading())

    @property
    def deserted(self) -> bool:
        """Whether requests wait, and no replica is ready."""
        dispatcher = self.fleet.dispatcher
        return dispatcher.waiting > 0 and not dispatcher.ready

    def check(self, only: AbstractSet[str] | None) -> None:
        """Raise `ApiError` if nobody is there for a request."""
        if not self.is_open:
            raise not_leading()
        if not self.endpoints.has_ready(only):
            raise no_endpoint()

    def served(self, request_id: str, endpoint: str, instead_of: Replica) -> Replica:
        """Hear that another endpoint serves a request; return whose that is, if it is known."""
        dispatcher, name = self.fleet.dispatcher, self.endpoints.name(endpoint)
        if name is None or not dispatcher.moved(request_id, name):
            return instead_of
        self.fleet.members.lost(instead_of, f"not reached; {name} serves in its place")
        self.fleet.metrics.retried("connection")
        return next(one for one in dispatcher.replicas if one.name == name)

    @contextmanager
    def attends(self) -> Iterator[None]:
        """Count an exchange for as long as it goes on."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
