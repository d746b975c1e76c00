"""One answer on its way from the engine to the client, byte for byte."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from starlette.types import Message, Send

from slosched_server.errors import ApiError, broken_off, unreachable
from slosched_server.overload import RefusedError
from slosched_server.progress import Outcome, Progress
from slosched_server.upstream import (
    Job,
    RawHeaders,
    Upstream,
    UpstreamAnswer,
    UpstreamError,
    UpstreamRequest,
)

log = structlog.get_logger()

CLASS_HEADER = b"x-slosched-class"
DOWNGRADED_HEADER = b"x-slosched-downgraded-from"


@dataclass(slots=True)
class Relay:
    """Carries one answer.

    Parameters
    ----------
    upstream
        Who answers.
    progress
        Told of each chunk and of the outcome.
    job
        What is answered, if the engine has to work on it; the answer says as what.
    """

    upstream: Upstream
    progress: Progress
    job: Job | None = None
    _begun: bool = False
    _events: bool = False
    _gap: bool = True

    async def run(self, request: UpstreamRequest, send: Send) -> None:
        """Send the request on and the answer back, or say why there is none."""
        sent = time.monotonic()
        try:
            async with self.upstream.send(request) as answer:
                self.progress.status = answer.status
                timing = server_timing(self.progress, sent, time.monotonic())
                head = self._head(answer, timing)
                async for chunk in answer.body:
                    # The head waits for the first byte: an engine that dies while the request
                    # is in its queue is then a 502, and no broken stream.
                    if not self._begun:
                        await self._begin(head, send)
                    self.progress.chunk(chunk, time.monotonic())
                    self._gap = chunk.endswith(b"\n\n")
                    await send(body_message(chunk, more=True))
                if not self._begun:
                    await self._begin(head, send)
                self.progress.outcome = outcome_of(answer.status)
        except UpstreamError as error:
            await self._fail(error, send)
            return
        await send(body_message(b"", more=False))

    def _head(self, answer: UpstreamAnswer, timing: bytes) -> Message:
        names = {name.lower(): value for name, value in answer.headers}
        # A length that was promised leaves no room for an error event at the end.
        is_stream = names.get(b"content-type", b"").startswith(b"text/event-stream")
        self._events = is_stream and b"content-length" not in names
        ours = self._ours()
        named = {name for name, _ in ours}
        theirs = [(name, value) for name, value in answer.headers if name.lower() not in named]
        headers = [*theirs, *ours, (b"server-timing", timing)]
        return {"type": "http.response.start", "status": answer.status, "headers": headers}

    def _ours(self) -> RawHeaders:
        """Return headers that take the place of the engine's own."""
        if self.job is None:
            return ()
        return served_as(self.job)

    async def _begin(self, head: Message, send: Send) -> None:
        self._begun = True
        await send(head)

    async def _fail(self, error: UpstreamError, send: Send) -> None:
        if isinstance(error, RefusedError):
            self.progress.outcome, self.progress.status = "shed", error.answer.status
            await send_error(error.answer, (*self._ours(), error.retry_after), send)
            return
        self.progress.outcome = "failed"
        event = "engine broke off" if self._begun else "engine unreachable"
        log.warning(event, reason=str(error), request_id=self.job.request_id if self.job else None)
        if not self._begun:
            answer = unreachable()
            self.progress.status = answer.status
            await send_error(answer, self._ours(), send)
        elif self._events:
            cut = b"" if self._gap else b"\n\n"
            await send(body_message(cut + broken_off().event(), more=False))
        # Otherwise the body stays unfinished, at which the server cuts the connection: the client
        # must not take half an answer for a whole one.


async def send_error(error: ApiError, headers: Sequence[tuple[bytes, bytes]], send: Send) -> None:
    """Answer with an error alone, with headers beside its own."""
    body = error.body()
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    every = [*own, *error.headers, *headers]
    await send({"type": "http.response.start", "status": error.status, "headers": every})
    await send(body_message(body, more=False))


def served_as(job: Job) -> RawHeaders:
    """Say as what a request is served."""
    headers = [(CLASS_HEADER, job.tag.slo_class.encode()), *job.headers]
    if job.asked:
        headers.append((DOWNGRADED_HEADER, job.asked.encode()))
    return headers


def body_message(data: bytes, *, more: bool) -> Message:
    """Write a piece of an answer's body as ASGI has it."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def outcome_of(status: int) -> Outcome:
    """Tell how a request ended whose answer, whole, has a status."""
    if status < 400:
        return "finished"
    return "rejected" if status < 500 else "failed"


def server_timing(progress: Progress, sent: float, answered: float) -> bytes:
    """Tell how long what took until an answer began; times as of `Progress`."""
    ours, queued = (sent - progress.arrival) * 1e3, progress.queued * 1e3
    theirs = (answered - sent) * 1e3 - queued
    return b"slosched;dur=%.3f, queue;dur=%.3f, engine;dur=%.3f" % (ours, queued, theirs)
