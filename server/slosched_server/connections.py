"""All clients that are connected: how many may be, and who is cut off for doing nothing."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Literal

import structlog
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as Counted
from starlette.types import ASGIApp, Receive, Scope, Send

from slosched_server.errors import stopping, too_many_connections
from slosched_server.relay import send_error
from slosched_server.settings import ServerSettings

if TYPE_CHECKING:
    from slosched_server.connection import Connection

log = structlog.get_logger()

Reason = Literal["slow_head", "slow_body", "unread", "large_head", "no_room"]

_SURPLUS = 128  # clients beyond the limit that are told so; of more the connection is cut
_LAST = ((b"retry-after", b"1"), (b"connection", b"close"))


class Connections:
    """Looks after the clients of one server.

    Parameters
    ----------
    settings
        The limits.
    is_stopping
        Set once the server is to stop: each answer is the last of its connection then.
    registry
        Where they are counted.

    Attributes
    ----------
    waiting
        Those without a request, who waits longest first: they make room for others.
    refuses
        Whether there is no new work for the engine any more.
    """

    def __init__(
        self, settings: ServerSettings, is_stopping: asyncio.Event, registry: CollectorRegistry
    ) -> None:
        self.settings, self.is_stopping = settings, is_stopping
        self.waiting: dict[Connection, None] = {}
        self.refuses = False
        self._there: set[Connection] = set()
        self._surplus: set[Connection] = set()
        self._cut: Counter[str] = Counter()  # since that was last told
        self._count = Counted(
            "slosched_clients_cut_off", "Clients cut off", ["reason"], registry=registry
        )
        there = Gauge("slosched_client_connections", "Clients connected", registry=registry)
        there.set_function(self.__len__)

    def __len__(self) -> int:
        return len(self._there) + len(self._surplus)

    @property
    def busy(self) -> int:
        """How many have a request that is not answered yet, to the last byte."""
        return len(self._there) - len(self.waiting)

    def came(self, connection: "Connection") -> bool:
        """Take in a new one, in place of one without a request if need be; False if it must go."""
        if len(self._there) >= self.settings.max_connections:
            longest = next(iter(self.waiting), None)
            if longest is None:
                return self._is_told(connection)
            self.gone(longest)
            longest.leave("no_room")
        self._there.add(connection)
        self.waiting[connection] = None
        return True

    def _is_told(self, connection: "Connection") -> bool:
        """Let one stay until it has heard that there is no room, if not too many do already."""
        if len(self._surplus) < _SURPLUS:
            self._surplus.add(connection)
            return True
        self.cut("no_room")
        return False

    def gone(self, connection: "Connection") -> None:
        """Forget one."""
        self._there.discard(connection)
        self._surplus.discard(connection)
        self.waiting.pop(connection, None)

    def cut(self, reason: Reason) -> None:
        """Count one that is cut off."""
        self._cut[reason] += 1
        self._count.labels(reason).inc()

    def turns_away(self, connection: "Connection") -> bool:
        """Whether requests of a connection are not for the application."""
        return self.refuses or connection in self._surplus

    def instead_of(self, app: ASGIApp) -> ASGIApp:
        """Return who answers what is turned away: work is refused, questions are not."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if not self.refuses:
                self.cut("no_room")
                await send_error(too_many_connections(), _LAST, send)
            elif scope["method"] == "GET":
                await app(scope, receive, send)
            else:
                await send_error(stopping(), _LAST, send)

        return answer

    def stop(self) -> None:
        """Let each answer be the last of its connection, from now on."""
        self.is_stopping.set()
        for connection in self._there:
            connection.last()

    def sweep(self, now: float) -> None:
        """Cut off whoever took longer than it may; to be called every second or so.

        Parameters
        ----------
        now
            On the clock of the loop, s.
        """
        for connection in [*self._there, *self._surplus]:
            connection.check(now)
        if self._cut:
            log.warning("clients cut off", **self._cut)
            self._cut.clear()
