"""Many engines as one upstream: requests wait for the replica that the dispatcher names."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Self

import orjson
import structlog

from slosched.core.request import Request
from slosched.core.transcript import RecordedTranscript
from slosched.dispatch import Dispatcher, Replica
from slosched_server.overload import Overload, RefusedError
from slosched_server.upstream import (
    Job,
    Upstream,
    UpstreamAnswer,
    UpstreamError,
    UpstreamRequest,
    healthy,
)

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
        Who goes where; it has all replicas.
    upstreams
        Of each replica, by name.
    probe_every_s
        Seconds between two looks at each replica's `/health`.
    probe_timeout_s
        Seconds that such a look may take.
    plan_every_s
        Seconds from one plan to the next at least.
    overload
        Bounds of the queue, and who is refused.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        upstreams: Mapping[str, Upstream],
        *,
        probe_every_s: float = 2.0,
        probe_timeout_s: float = 5.0,
        plan_every_s: float = 0.05,
        overload: Overload | None = None,
    ) -> None:
        self.dispatcher = dispatcher
        self._upstreams = upstreams
        self._probe_every, self._probe_timeout = probe_every_s, probe_timeout_s
        self._plan_every = plan_every_s
        self._overload = overload or Overload()
        self._ids = count()
        self._waiting: dict[str, asyncio.Future[Replica]] = {}
        self._planning: asyncio.Task[None] | None = None
        self._solver = ThreadPoolExecutor(1, "slosched-fleet-plan")
        self._probes: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to look at the replicas."""
        for replica in self.dispatcher.replicas:
            self._probes.append(asyncio.create_task(self._probe(replica)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = [*self._probes, *([self._planning] if self._planning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._solver.shutdown(wait=False, cancel_futures=True)
        self.dispatcher.close()

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        """Let a request wait, send it, and stream its answer; see `Upstream`."""
        if request.job is None:
            yield await self._of_all(request)
            return
        self._check_bounds(request.job)
        request_id = str(next(self._ids))
        self.dispatcher.submit(_request(request_id, request.job))
        try:
            async with AsyncExitStack() as stack:
                await self._let_in(request_id, request.job)
                answer = await self._answered(request_id, request, request.job, stack)
                yield replace(answer, body=self._heard(request_id, request.job, answer))
        finally:
            self._waiting.pop(request_id, None)
            self.dispatcher.on_end(request_id)
            self._pump()

    # -- overload ------------------------------------------------------------------------------

    def _check_bounds(self, job: Job) -> None:
        """Refuse a request that the queue has no room for."""
        bounds, dispatcher = self._overload, self.dispatcher
        if dispatcher.waiting >= bounds.max_waiting:
            raise self._refused(f"{bounds.max_waiting} requests wait already")
        tokens = dispatcher.waiting_tokens + job.size.input_tokens
        if dispatcher.waiting and tokens > bounds.max_waiting_tokens:
            raise self._refused(f"prompts of {bounds.max_waiting_tokens:g} tokens wait already")

    async def _let_in(self, request_id: str, job: Job) -> None:
        """Refuse a request that would be late, or make others late, if its class says so."""
        self._waits(request_id)
        if job.tag.slo_class not in self._overload.rejects:
            return
        asked = self.dispatcher.admission(request_id, time.monotonic())
        if asked is None:
            return
        loop = asyncio.get_running_loop()
        admits = await loop.run_in_executor(self._solver, asked.admits)
        if not admits and not self._waiting[request_id].done():
            raise self._refused("it would be late, or make others late")

    def _refused(self, why: str) -> RefusedError:
        now = time.monotonic()
        return RefusedError(f"overloaded: {why}", self.dispatcher.drained_at(now) - now)

    def _patience(self, job: Job) -> float:
        """Until when a request may wait, s: of a class that is refused, not beyond its limits."""
        seconds = self._overload.max_wait_s
        if job.tag.slo_class in self._overload.rejects:
            seconds = min(seconds, job.tag.slo.ttft, job.tag.slo.e2e)
        return job.progress.arrival + seconds

    # -- one request ---------------------------------------------------------------------------

    async def _answered(
        self, request_id: str, request: UpstreamRequest, job: Job, stack: AsyncExitStack
    ) -> UpstreamAnswer:
        """Wait for a replica and for its answer's first byte; try another one if it fails."""
        began = time.monotonic()
        while True:
            replica = await self._bound(request_id, job)
            job.progress.queued = time.monotonic() - began
            try:
                async with AsyncExitStack() as attempt:
                    upstream = self._upstreams[replica.name]
                    answer = await attempt.enter_async_context(upstream.send(request))
                    first = await anext(answer.body, b"")
                    if answer.status not in _TRY_ELSEWHERE or not self._put_back(request_id):
                        await stack.enter_async_context(attempt.pop_all())
                        name = (REPLICA_HEADER, replica.name.encode())
                        headers = [*answer.headers, name]
                        return UpstreamAnswer(answer.status, headers, _after(first, answer.body))
                    log.warning("sent elsewhere", replica=replica.name, status=answer.status)
            except UpstreamError as error:
                self._lost(replica, error)
                if not self._put_back(request_id):
                    raise

    def _waits(self, request_id: str) -> "asyncio.Future[Replica]":
        """Let a request hear to whom it is bound; it may be so at once."""
        future: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        self._pump()
        return future

    async def _bound(self, request_id: str, job: Job) -> Replica:
        """Wait until a request is bound, and return to whom."""
        future = self._waiting.get(request_id) or self._waits(request_id)
        seconds = self._patience(job) - time.monotonic()
        done, _ = await asyncio.wait([future], timeout=max(seconds, 0.0))
        if not done:
            raise self._refused("it waited in vain for as long as it may")
        del self._waiting[request_id]
        return future.result()

    def _put_back(self, request_id: str) -> bool:
        """Let a request wait again, if there is anybody else who may get it."""
        return len(self.dispatcher.replicas) > 1 and self.dispatcher.put_back(request_id)

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

    # -- plans ---------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send whoever may go, and let a plan be made if there is anything new to plan."""
        self._release()
        if self.dispatcher.wants_plan and self._planning is None:
            self._planning = asyncio.create_task(self._plan())
            self._planning.add_done_callback(self._planned)

    async def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        job = self.dispatcher.job(time.monotonic())
        solved = await loop.run_in_executor(self._solver, job.solve)
        self.dispatcher.take(solved)
        for mishap in self.dispatcher.take_mishaps():
            log.warning(mishap.event, part=type(mishap.part).__name__, reason=str(mishap.error))
        self._release()
        await asyncio.sleep(max(self._plan_every - solved.seconds, 0.0))

    def _release(self) -> None:
        for binding in self.dispatcher.release():
            future = self._waiting.get(binding.request_id)
            if future is not None and not future.done():
                future.set_result(binding.replica)

    def _planned(self, task: asyncio.Task[None]) -> None:
        self._planning = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                log.error("planning failed", reason=str(error))
            self._pump()

    # -- replicas ------------------------------------------------------------------------------

    def _lost(self, replica: Replica, error: UpstreamError) -> None:
        """Send nobody there until it answers again."""
        if replica.state == "ready":
            log.warning("replica lost", replica=replica.name, reason=str(error))
            self.dispatcher.on_replica_change(replica.name, "away")

    async def _probe(self, replica: Replica) -> None:
        while True:
            well = await healthy(self._upstreams[replica.name], self._probe_timeout)
            if well and replica.state == "away":
                log.info("replica is back", replica=replica.name)
                self.dispatcher.on_replica_change(replica.name, "ready")
                self._pump()
            elif not well and replica.state == "ready":
                self._lost(replica, UpstreamError("does not answer /health"))
                self._pump()
            await asyncio.sleep(self._probe_every)

    async def _of_all(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answer what no engine has to work on: whether any is there, and what all serve."""
        ready = [self._upstreams[replica.name] for replica in self.dispatcher.ready]
        if request.target.partition("?")[0] == "/health":
            return UpstreamAnswer(200 if ready else 503, (), _after(b"", None))
        answers = await asyncio.gather(*(_whole(upstream, request) for upstream in ready))
        models: dict[str, object] = {}
        for status, body in answers:
            if status == 200:
                models |= {model["id"]: model for model in orjson.loads(body)["data"]}
        if not models:
            raise UpstreamError("no replica tells its models")
        page = orjson.dumps({"object": "list", "data": list(models.values())})
        headers = [(b"content-type", b"application/json")]
        return UpstreamAnswer(200, headers, _after(page, None))


async def _whole(upstream: Upstream, request: UpstreamRequest) -> tuple[int, bytes]:
    try:
        async with upstream.send(request) as answer:
            return answer.status, b"".join([chunk async for chunk in answer.body])
    except UpstreamError:
        return 502, b""


async def _after(first: bytes, others: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if first:
        yield first
    if others is not None:
        async for chunk in others:
            yield chunk


def _request(request_id: str, job: Job) -> Request:
    size, tag = job.size, job.tag
    transcript = None if size.prompt is None else RecordedTranscript(size.prompt, "", 0)
    return Request(
        request_id, job.progress.arrival, size.input_tokens, tag.slo, tag.slo_class, tag.tenant,
        size.max_tokens, prompt=size.prompt, transcript=transcript,
    )  # fmt: skip
