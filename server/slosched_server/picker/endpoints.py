"""Replicas as Envoy knows them: by address and port."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from slosched.dispatch import Dispatcher, Replica
from slosched_server.members import Members

_FALLBACKS = 3
_RANKED_FOR_S = 0.05


class Endpoints:
    """Translates between names of replicas and endpoints.

    Parameters
    ----------
    members
        Where each replica is.
    dispatcher
        How much each has to do.
    """

    def __init__(self, members: Members, dispatcher: Dispatcher) -> None:
        self._members, self._dispatcher = members, dispatcher
        self._ranked: Sequence[Replica] = ()
        self._ranked_at = -_RANKED_FOR_S

    def of(self, replica: Replica) -> str:
        """Return the endpoint of a replica."""
        return urlsplit(self._members.where(replica.name)).netloc

    def name(self, endpoint: str) -> str | None:
        """Return the name of the replica at an endpoint; None if there is none."""
        urls = self._members.urls.items()
        return next((name for name, url in urls if urlsplit(url).netloc == endpoint), None)

    def names(self, endpoints: AbstractSet[str]) -> AbstractSet[str]:
        """Return the names of those of the replicas that are at some endpoints."""
        urls = self._members.urls.items()
        return frozenset(name for name, url in urls if urlsplit(url).netloc in endpoints)

    def destination(self, replica: Replica, only: AbstractSet[str] | None = None) -> str:
        """Say where a request goes: to a replica, or those with the least to do if it fails."""
        others = (
            one
            for one in self._by_load()
            if one is not replica and one.state == "ready" and (only is None or one.name in only)
        )
        every = [replica, *(one for one, _ in zip(others, range(_FALLBACKS), strict=False))]
        return ",".join(self.of(one) for one in every)

    def has_ready(self, only: AbstractSet[str] | None = None) -> bool:
        """Whether a request could go anywhere now."""
        replicas = self._dispatcher.replicas
        return any(one.state == "ready" and (only is None or one.name in only) for one in replicas)

    def idlest(self, only: AbstractSet[str] | None = None) -> Replica | None:
        """Return who has the least to do; None if nobody is ready."""
        ready = self._dispatcher.ready
        there = [one for one in ready if only is None or one.name in only]
        return min(there, key=_load, default=None)

    def _by_load(self) -> Sequence[Replica]:
        """Rank replicas, now and then: it is for those whose first choice fails."""
        now = time.monotonic()
        if now - self._ranked_at >= _RANKED_FOR_S:
            self._ranked = sorted(self._dispatcher.ready, key=_load)
            self._ranked_at = now
        return self._ranked


def _load(replica: Replica) -> float:
    return (replica.outstanding + 1) * replica.step_s
