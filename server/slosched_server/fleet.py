"""Many engines as one upstream: requests wait for the replica that the dispatcher names."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Self

import orjson
import structlog

from slosched.dispatch import Dispatcher
from slosched_server.gate import Gate
from slosched_server.members import Connect, Members, whole
from slosched_server.rules import FleetRules, Rules
from slosched_server.upstream import Job, UpstreamAnswer, UpstreamError, UpstreamRequest
from slosched_server.visit import Visit
from slosched_server.waiting_room import WaitingRoom

log = structlog.get_logger()

REPLICA_HEADER = b"x-slosched-replica"
_COUNTED = re.compile(rb'"completion_tokens":\s*(\d+)')
_TAIL = 4096  # bytes at the end of a body, in which usage is looked for
_TRY_ELSEWHERE = (502, 503, 504)


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
    ) -> None:
        self.dispatcher = dispatcher
        dispatcher.change(rules.assignment, rules.fairness)
        self._rules = rules
        self._room = WaitingRoom(dispatcher, rules.plan_every_s)
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
            await self.members.add(member, configured=True)
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

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        """Let a request wait, send it, and stream its answer; see `Upstream`."""
        if request.job is None:
            yield await self._of_all(request)
            return
        visit = Visit(self._room, self._gate, request.job, self._ids)
        try:
            async with AsyncExitStack() as stack:
                await visit.begin()
                answer = await self._answered(visit, request, request.job, stack)
                yield replace(answer, body=self._heard(visit.request_id, request.job, answer))
        finally:
            visit.end()

    async def _answered(
        self, visit: Visit, request: UpstreamRequest, job: Job, stack: AsyncExitStack
    ) -> UpstreamAnswer:
        """Wait for a replica and for its answer's first byte; try another one if it fails."""
        began = time.monotonic()
        while True:
            replica = await visit.bound()
            job.progress.queued = time.monotonic() - began
            try:
                async with AsyncExitStack() as attempt:
                    upstream = self.members.upstream(replica.name)
                    answer = await attempt.enter_async_context(upstream.send(request))
                    first = await anext(answer.body, b"")
                    if answer.status not in _TRY_ELSEWHERE or not visit.put_back():
                        await stack.enter_async_context(attempt.pop_all())
                        name = (REPLICA_HEADER, replica.name.encode())
                        headers = [*answer.headers, name]
                        return UpstreamAnswer(answer.status, headers, _after(first, answer.body))
                    log.warning("sent elsewhere", replica=replica.name, status=answer.status)
            except UpstreamError as error:
                self.members.lost(replica, str(error))
                if not visit.put_back():
                    raise

    async def _heard(
        self, request_id: str, job: Job, answer: UpstreamAnswer
    ) -> AsyncIterator[bytes]:
        """Pass an answer on, and tell the dispatcher of its tokens."""
        progress, tail, told = job.progress, b"", 0
        async for chunk in answer.body:
            tail = (tail + chunk)[-_TAIL:]
            yield chunk
            if progress.events > told:
                told = progress.events
                self.dispatcher.on_token(request_id, told, progress.last)
        if answer.status == 200:
            counted = _COUNTED.findall(tail)
            tokens = int(counted[-1]) if counted else max(told, 1)
            self.dispatcher.on_complete(request_id, tokens, time.monotonic())

    async def _of_all(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answer what no engine has to work on: whether any is there, and what all serve."""
        ready = self.members.ready
        if request.target.partition("?")[0] == "/health":
            return UpstreamAnswer(200 if ready else 503, (), _after(b"", None))
        answers = await asyncio.gather(*(whole(upstream, request) for upstream in ready))
        models: dict[str, object] = {}
        for status, body in answers:
            if status == 200:
                models |= {model["id"]: model for model in orjson.loads(body)["data"]}
        if not models:
            raise UpstreamError("no replica tells its models")
        page = orjson.dumps({"object": "list", "data": list(models.values())})
        headers = [(b"content-type", b"application/json")]
        return UpstreamAnswer(200, headers, _after(page, None))


async def _after(first: bytes, others: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if first:
        yield first
    if others is not None:
        async for chunk in others:
            yield chunk
