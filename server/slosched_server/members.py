"""The replicas of a fleet: where each is, whether it is well, and what it says of itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass, replace

import structlog

from slosched.dispatch import Dispatcher, Replica
from slosched_server.readings import reading
from slosched_server.rules import Member
from slosched_server.upstream import Upstream, UpstreamError, UpstreamRequest, healthy

log = structlog.get_logger()

_DRAINED_EVERY_S = 0.1

_CONFIGURED = "configuration"

Connect = Callable[[str], AbstractAsyncContextManager[Upstream]]


@dataclass(frozen=True, slots=True)
class _There:
    """A replica that takes part, with what it needs while it does, and who named it."""

    member: Member
    upstream: Upstream
    open: AsyncExitStack
    probe: asyncio.Task[None]
    source: str


class Members:
    """Lets replicas come, drain and go while requests are served; to be closed.

    Parameters
    ----------
    dispatcher
        Told of each.
    connect
        Opens the way to a URL.
    probe_every_s, probe_timeout_s
        Seconds between two looks at each replica, and that a look may take.
    changed
        Called whenever a request that waits may go somewhere else now.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        connect: Connect,
        *,
        probe_every_s: float,
        probe_timeout_s: float,
        changed: Callable[[], None],
    ) -> None:
        self.probe_every_s = probe_every_s
        self._dispatcher, self._connect = dispatcher, connect
        self._timeout, self._changed = probe_timeout_s, changed
        self._there: dict[str, _There] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, tuple[Member, str]] = {}  # once the one of that name has left
        self._configuring: set[asyncio.Task[None]] = set()
        self._one_by_one = asyncio.Lock()

    @property
    def urls(self) -> Mapping[str, str]:
        """Where each is, by name."""
        return {name: there.member.url for name, there in self._there.items()}

    @property
    def ready(self) -> Sequence[tuple[Replica, Upstream]]:
        """Those that get requests, and the ways to them."""
        return [(replica, self.upstream(replica.name)) for replica in self._dispatcher.ready]

    def where(self, name: str) -> str:
        """Return the URL of a replica."""
        return self._there[name].member.url

    def upstream(self, name: str) -> Upstream:
        """Return the way to a replica."""
        return self._there[name].upstream

    def view(self, now: float) -> list[dict[str, object]]:
        """Return how each is, and where."""
        urls = self.urls
        shown = self._dispatcher.snapshot(now).replicas
        return [{**asdict(replica), "url": urls[replica.name]} for replica in shown]

    async def add(self, member: Member, source: str = _CONFIGURED) -> None:
        """Let a replica take part, and look after it; ValueError if there is one of its name.

        Parameters
        ----------
        source
            Who named it, and may let it go by `configure`.
        """
        name = member.replica.name
        self._dispatcher.add_replica(member.replica)
        opened = AsyncExitStack()
        upstream = await opened.enter_async_context(self._connect(member.url))
        probe = asyncio.create_task(self._probe(member.replica, upstream))
        self._there[name] = _There(member, upstream, opened, probe, source)
        self._changed()

    def drain(self, name: str) -> None:
        """Send nobody there any more; KeyError if there is no such replica."""
        self._dispatcher.on_replica_change(name, "draining")
        self._changed()

    def resume(self, name: str) -> None:
        """Take a drain or a removal back; the replica gets requests once it is found well."""
        if (leaving := self._leaving.pop(name, None)) is not None:
            leaving.cancel()
        self._next.pop(name, None)
        self._dispatcher.on_replica_change(name, "away")
        there = self._there[name]
        there.probe.cancel()  # for one that looks at once
        probe = asyncio.create_task(self._probe(there.member.replica, there.upstream))
        self._there[name] = replace(there, probe=probe)

    def remove(self, name: str) -> None:
        """Drain a replica, and forget it once it has no requests; KeyError if there is none."""
        self.drain(name)
        if name not in self._leaving:
            self._leaving[name] = asyncio.create_task(self._leave(name))

    def configure(self, members: Sequence[Member], source: str = _CONFIGURED) -> None:
        """Begin to let come and go whoever is named newly, or not any more.

        Whoever is named again before it has left stays, with what it has. One that is to be another
        under its name comes once it has left.

        Parameters
        ----------
        source
            Who names them; replicas that others named are not concerned.
        """
        task = asyncio.create_task(self._configure(members, source))
        self._configuring.add(task)
        task.add_done_callback(self._configuring.discard)

    def lost(self, replica: Replica, reason: str) -> None:
        """Send nobody there until it answers again."""
        if replica.state == "ready":
            log.warning("replica lost", replica=replica.name, reason=reason)
            self._dispatcher.on_replica_change(replica.name, "away")

    async def close(self) -> None:
        """Let all go."""
        probes = (there.probe for there in self._there.values())
        tasks = [*self._configuring, *self._leaving.values(), *probes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for there in self._there.values():
            await there.open.aclose()

    async def _configure(self, members: Sequence[Member], source: str) -> None:
        wanted = {member.replica.name: member for member in members}
        async with self._one_by_one:
            for name, there in self._there.items():
                if there.source != source:
                    continue
                self._next.pop(name, None)
                if not (name in wanted and wanted[name].same_as(there.member)):
                    self.remove(name)
                elif name in self._leaving:
                    self.resume(name)
            for name, member in wanted.items():
                if name not in self._there:
                    await self.add(member, source)
                elif name in self._leaving:
                    self._next[name] = (member, source)

    async def _leave(self, name: str) -> None:
        there = self._there[name]
        while there.member.replica.given:  # noqa: ASYNC110 - a queue without threads has no events
            await asyncio.sleep(_DRAINED_EVERY_S)
        there.probe.cancel()
        await asyncio.gather(there.probe, return_exceptions=True)
        self._dispatcher.remove_replica(name)
        del self._there[name], self._leaving[name]
        await there.open.aclose()
        log.info("replica removed", replica=name)
        if (member := self._next.pop(name, None)) is not None:
            await self.add(*member)

    async def _probe(self, replica: Replica, upstream: Upstream) -> None:
        while True:
            if not await healthy(upstream, self._timeout):
                if replica.state == "ready":
                    self.lost(replica, "does not answer /health")
                    self._changed()
            else:
                if replica.state == "away":
                    log.info("replica is back", replica=replica.name)
                    self._dispatcher.on_replica_change(replica.name, "ready")
                await self._read(replica, upstream)
                self._changed()
            await asyncio.sleep(self.probe_every_s)

    async def _read(self, replica: Replica, upstream: Upstream) -> None:
        """Ask a replica how busy it is; one that does not say is as busy as we make it."""
        try:
            async with asyncio.timeout(self._timeout):
                status, page = await whole(upstream, UpstreamRequest("GET", "/metrics"))
        except TimeoutError:
            return
        if status == 200 and (said := reading(page)) is not None:
            self._dispatcher.on_reading(replica.name, said)


async def whole(upstream: Upstream, request: UpstreamRequest) -> tuple[int, bytes]:
    """Ask, and return the status and the whole answer; 502 without any."""
    try:
        async with upstream.send(request) as answer:
            return answer.status, b"".join([chunk async for chunk in answer.body])
    except UpstreamError:
        return 502, b""
