"""A fake of one Lease, before which calls and answers are late or lost, in virtual time."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from slosched_server.kubernetes.api import ClusterError
from slosched_server.kubernetes.kinds import Object

T = TypeVar("T")


@dataclass(frozen=True)
class Trouble:
    """What becomes of one call: how late it comes and its answer is, s, and whether they do."""

    there_s: float = 0.0
    back_s: float = 0.0
    lost: str = ""  # "" | "call" | "answer"


class FakeLease:
    """What the server holds.

    Attributes
    ----------
    lease
        As it is; None without.
    """

    def __init__(self) -> None:
        self.lease: Object | None = None
        self._version = 0

    def write(self, spec: Mapping[str, Any], version: str | None) -> Object:
        """Write it if it still has a version; None for none."""
        has = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if has != version:
            raise ClusterError("it has changed", 409)
        self._version += 1
        self.lease = {"metadata": {"resourceVersion": str(self._version)}, "spec": dict(spec)}
        return self.lease


class Line:
    """One candidate's way to it; see `slosched_server.kubernetes.leases.Leases`.

    Parameters
    ----------
    server
        Where it is.
    trouble
        Called for each call.
    """

    def __init__(self, server: FakeLease, trouble: Callable[[], Trouble]) -> None:
        self._server, self._trouble = server, trouble

    async def read(self) -> Object | None:
        return await self._call(lambda: self._server.lease)

    async def create(self, spec: Mapping[str, Any]) -> Object:
        return await self._call(lambda: self._server.write(spec, None))

    async def replace(self, lease: Object, spec: Mapping[str, Any]) -> Object:
        version = lease["metadata"]["resourceVersion"]
        return await self._call(lambda: self._server.write(spec, version))

    async def _call(self, work: Callable[[], T]) -> T:
        # Whoever hangs up does not call back what is on its way.
        return await asyncio.shield(asyncio.ensure_future(self._travel(work)))

    async def _travel(self, work: Callable[[], T]) -> T:
        trouble = self._trouble()
        await asyncio.sleep(trouble.there_s)
        if trouble.lost == "call":
            raise ClusterError("connection refused")
        done = work()
        await asyncio.sleep(trouble.back_s)
        if trouble.lost == "answer":
            raise ClusterError("connection reset")
        return done
