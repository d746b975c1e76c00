"""A request that waits for the plan: it is understood, waits, is sent on, and is answered."""

import time
from collections.abc import Set as AbstractSet

from slosched.core.errors import TagError
from slosched.dispatch import Replica
from slosched_server.counting import Counting
from slosched_server.errors import ApiError, bad_tag
from slosched_server.headers import tag_request
from slosched_server.overload import RefusedError
from slosched_server.picker.desk import Desk
from slosched_server.picker.dialogue import Dialogue, GoneError
from slosched_server.progress import Progress
from slosched_server.relay import outcome_of, served_as, server_timing
from slosched_server.request_ids import HEADER, request_id, with_id
from slosched_server.sending import REPLICA_HEADER
from slosched_server.upstream import Job, RawHeaders
from slosched_server.visit import Visit


class Planned:
    """Carries one request through the queue.

    Parameters
    ----------
    desk
        What all requests share.
    dialogue
        With Envoy.
    only
        Names of the replicas that may get it; None for all.
    named_events
        Whether events of streams have names, as those of `/v1/responses`.
    """

    def __init__(
        self,
        desk: Desk,
        dialogue: Dialogue,
        only: AbstractSet[str] | None,
        *,
        named_events: bool,
    ) -> None:
        self._desk, self._dialogue, self._only = desk, dialogue, only
        self._named = named_events
        self._arrival = self._entered = time.monotonic()

    async def run(self) -> None:
        """See it through; GoneError if Envoy ends the exchange before."""
        desk, head = self._desk, self._dialogue.head
        this = request_id(head.headers)
        try:
            job, headers = await self._understood(this)
        except (ApiError, TagError) as error:
            desk.watcher.refuse(error, head.scope, this)
            answer = bad_tag(error) if isinstance(error, TagError) else error
            await self._dialogue.refuse(answer, ((HEADER, this.encode()),))
            return
        desk.watcher.begin(job, head.scope)
        visit = desk.fleet.visit(job, self._only)
        try:
            replica = await self._bound(job, visit)
            if replica is not None:
                await self._served(job, headers, visit, replica)
        finally:
            visit.end()
            desk.watcher.end(job, time.monotonic())

    async def _understood(self, this: str) -> tuple[Job, RawHeaders]:
        """Return what the request asks for, and its headers for the engine."""
        desk, head = self._desk, self._dialogue.head
        rules = desk.in_force.rules
        desk.check(self._only)
        caller = rules.access.enter(head.headers)
        body = await self._dialogue.body(desk.max_body_bytes)
        tagged = tag_request(caller or rules.tagger, head.headers, body)
        if caller is not None:
            caller.count_tokens(tagged.size)
        progress = Progress(self._arrival, tagged.stream and head.shows_answer, self._named)
        job = Job(tagged.tag, tagged.size, progress, tagged.write)
        job.request_id, job.model = this, tagged.model
        job.headers = (*(caller.headers() if caller else ()), (HEADER, this.encode()))
        return job, with_id(rules.access.outgoing(head.headers), this)

    async def _bound(self, job: Job, visit: Visit) -> Replica | None:
        """Wait for the plan's replica; None if there will be none, which Envoy was told."""
        progress = job.progress
        self._entered = time.monotonic()
        self._dialogue.when_gone(lambda: visit.give_up(GoneError()))
        try:
            await visit.begin()
            replica = await visit.bound()
        except RefusedError as error:
            progress.outcome, progress.status = "shed", error.answer.status
            await self._dialogue.refuse(error.answer, (*served_as(job), error.retry_after))
            return None
        except ApiError as error:
            progress.outcome, progress.status = "failed", error.status
            await self._dialogue.refuse(error, served_as(job))
            return None
        progress.queued = time.monotonic() - self._entered
        progress.replica, progress.attempts = replica.name, 1
        job.trace.bound(self._desk.fleet.dispatcher, visit.request_id)
        return replica

    async def _served(self, job: Job, headers: RawHeaders, visit: Visit, replica: Replica) -> None:
        """Send it on, and hear its answer to the end."""
        desk, progress, sent = self._desk, job.progress, time.monotonic()
        endpoints = desk.endpoints.destination(replica, self._only)
        await self._dialogue.send(endpoints, headers, job.body())
        head = await self._dialogue.answer_head()
        if head.served and head.served != desk.endpoints.of(replica):
            replica = desk.served(visit.request_id, head.served, replica)
            progress.replica, progress.attempts = replica.name, 2
        progress.status = head.status
        answered = time.monotonic()
        timing = server_timing(progress, self._entered, answered)
        counting = Counting(desk.fleet.dispatcher, desk.fleet.metrics, visit.request_id, progress)
        ours = (
            *served_as(job),
            (REPLICA_HEADER, replica.name.encode()),
            (b"server-timing", timing),
        )
        async for piece in self._dialogue.answer(ours):
            progress.chunk(piece, time.monotonic())
            counting.read(piece)
            counting.tell()
        now = time.monotonic()
        progress.outcome = outcome_of(head.status)
        if head.streams and not self._dialogue.head.shows_answer:
            desk.endings.note(now - answered)
        if head.status == 200:
            counting.end(now, replica.tokens_in(now - sent, job.size.input_tokens))
