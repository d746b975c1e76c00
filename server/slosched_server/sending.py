"""A request on its way through a fleet: it waits, goes to a replica, and is answered."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType

import structlog

from slosched.dispatch import Dispatcher, Replica
from slosched_server.counting import Counting
from slosched_server.fleet_metrics import FleetMetrics
from slosched_server.members import Members
from slosched_server.upstream import Job, UpstreamAnswer, UpstreamError, UpstreamRequest
from slosched_server.visit import Visit

log = structlog.get_logger()

REPLICA_HEADER = b"x-slosched-replica"
TRY_ELSEWHERE = (502, 503, 504)


class Sending:
    """What `Upstream.send` returns for a fleet.

    Parameters
    ----------
    metrics
        Told of retries, and of lengths that were predicted wrong.
    dispatcher
        Told of the answer's tokens.
    members
        The ways to replicas.
    visit
        Its stay in the queue, which ends with it.
    request, job
        What is sent.
    """

    def __init__(
        self,
        metrics: FleetMetrics,
        dispatcher: Dispatcher,
        members: Members,
        visit: Visit,
        request: UpstreamRequest,
        job: Job,
    ) -> None:
        self._metrics = metrics
        self._dispatcher, self._members, self._visit = dispatcher, members, visit
        self._request, self._job = request, job
        self._open = AsyncExitStack()

    async def __aenter__(self) -> UpstreamAnswer:
        try:
            await self._visit.begin()
            return await self._answered()
        except BaseException:
            self._visit.end()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._open.__aexit__(kind, error, traceback)
        finally:
            self._visit.end()

    async def _answered(self) -> UpstreamAnswer:
        """Wait for a replica and for its answer's first byte; try another one if it fails."""
        began, progress = time.monotonic(), self._job.progress
        while True:
            replica = await self._visit.bound()
            progress.queued = time.monotonic() - began
            progress.replica = replica.name
            progress.attempts += 1
            self._job.trace.bound(self._dispatcher, self._visit.request_id)
            try:
                async with AsyncExitStack() as attempt:
                    upstream = self._members.upstream(replica.name)
                    answer = await attempt.enter_async_context(upstream.send(self._request))
                    first = await anext(answer.body, b"")
                    if answer.status not in TRY_ELSEWHERE or not self._visit.put_back():
                        self._open = attempt.pop_all()
                        return self._told(replica, answer, first)
                    self._log_retry(replica, str(answer.status))
                    self._metrics.retried(str(answer.status))
            except UpstreamError as error:
                self._members.lost(replica, str(error))
                if not self._visit.put_back():
                    raise
                self._log_retry(replica, str(error))
                self._metrics.retried("connection")

    def _log_retry(self, replica: Replica, reason: str) -> None:
        request_id = self._job.request_id
        log.warning("sent elsewhere", replica=replica.name, reason=reason, request_id=request_id)

    def _told(self, replica: Replica, answer: UpstreamAnswer, first: bytes) -> UpstreamAnswer:
        headers = [*answer.headers, (REPLICA_HEADER, replica.name.encode())]
        return UpstreamAnswer(answer.status, headers, self._heard(answer, first))

    async def _heard(self, answer: UpstreamAnswer, first: bytes) -> AsyncIterator[bytes]:
        """Pass an answer on, and tell the dispatcher of its tokens."""
        queued_as, progress = self._visit.request_id, self._job.progress
        counting = Counting(self._dispatcher, self._metrics, queued_as, progress)
        chunk = first
        while chunk:
            counting.read(chunk)
            yield chunk
            counting.tell()
            chunk = await anext(answer.body, b"")
        if answer.status == 200:
            counting.end(time.monotonic())
