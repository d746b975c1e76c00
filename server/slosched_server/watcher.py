"""Whoever is told of requests: metrics, the access log, traces."""

from collections.abc import Sequence
from typing import Protocol

from starlette.types import Scope

from slosched.core.errors import SloschedError
from slosched_server.upstream import Job


class Watcher(Protocol):
    """Told of each request that the engine is to work on."""

    def begin(self, job: Job, scope: Scope) -> None:
        """Hear of a request that was understood, before it is sent anywhere."""
        ...

    def end(self, job: Job, now: float) -> None:
        """Hear that it is over, at `now` in seconds of the clock of its arrival."""
        ...

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """Hear of a request that was refused before it had a class."""
        ...


class Watchers:
    """Several of them, told in turn."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def begin(self, job: Job, scope: Scope) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.begin(job, scope)

    def end(self, job: Job, now: float) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.end(job, now)

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """See `Watcher`."""
        for watcher in self._watchers:
            watcher.refuse(error, scope, request_id)
