"""The routes that lead to the engine."""

import asyncio
import re
import time

import structlog
from starlette.types import Receive, Scope, Send

from slosched.core.errors import TagError
from slosched_server.body import ClientGoneError, read_body
from slosched_server.errors import ApiError, bad_request, bad_tag
from slosched_server.hangup import until_gone
from slosched_server.headers import tag_request
from slosched_server.progress import Progress
from slosched_server.relay import Relay, send_error
from slosched_server.request_ids import HEADER, request_id, with_id
from slosched_server.rules import RulesInForce
from slosched_server.upstream import Job, RawHeaders, Upstream, UpstreamRequest
from slosched_server.watcher import Watcher

log = structlog.get_logger()

# What RFC 9110, section 5.5, keeps out of header values; the HTTP client refuses to send them.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Completions:
    """The ASGI endpoint of requests that the engine schedules.

    Parameters
    ----------
    in_force
        How requests are read.
    upstream
        Who answers it.
    watcher
        Told of it.
    max_body_bytes
        The largest body that is accepted.
    named_events
        Whether events of streams have names, as those of `/v1/responses`.
    """

    def __init__(
        self,
        in_force: RulesInForce,
        upstream: Upstream,
        watcher: Watcher,
        max_body_bytes: int,
        *,
        named_events: bool = False,
    ) -> None:
        self._in_force = in_force
        self._upstream = upstream
        self._watcher = watcher
        self._limit = max_body_bytes
        self._named = named_events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tag the request, send it on, and stream the answer until it or the client ends."""
        arrival, this = time.monotonic(), request_id(scope["headers"])
        rules = self._in_force.rules
        try:
            caller = rules.access.enter(scope["headers"])
            target, headers = _target(scope), rules.access.outgoing(_forwarded(scope))
            body = await read_body(scope, receive, self._limit)
            tagged = tag_request(caller or rules.tagger, scope["headers"], body)
            if caller is not None:
                caller.count_tokens(tagged.size)
        except (ApiError, TagError) as error:
            self._watcher.refuse(error, scope, this)
            answer = bad_tag(error) if isinstance(error, TagError) else error
            await send_error(answer, ((HEADER, this.encode()),), send)
        except ClientGoneError:
            pass
        else:
            progress = Progress(arrival, tagged.stream, self._named)
            job = Job(tagged.tag, tagged.size, progress, tagged.write)
            job.request_id, job.model = this, tagged.model
            job.headers = (*(caller.headers() if caller else ()), (HEADER, this.encode()))
            self._watcher.begin(job, scope)
            request = UpstreamRequest(scope["method"], target, with_id(headers, this), job=job)
            await self._relay(request, job, receive, send)

    async def _relay(
        self, request: UpstreamRequest, job: Job, receive: Receive, send: Send
    ) -> None:
        relay = Relay(self._upstream, job.progress, job)
        try:
            await until_gone(relay.run(request, send), receive)
        except asyncio.CancelledError:
            # The server's own stop: this task ends here either way, and its last words would
            # be a traceback for each request.
            log.warning("cut off by the stop of the server", request_id=job.request_id)
        finally:
            self._watcher.end(job, time.monotonic())


class PassThrough:
    """The ASGI endpoint of everything that is the engine's own affair.

    Parameters
    ----------
    in_force, upstream, watcher, max_body_bytes
        As of `Completions`.
    """

    def __init__(
        self, in_force: RulesInForce, upstream: Upstream, watcher: Watcher, max_body_bytes: int
    ) -> None:
        self._in_force = in_force
        self._upstream = upstream
        self._watcher = watcher
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the request on as it is, and the answer back."""
        relay = Relay(self._upstream, Progress(time.monotonic()))
        access = self._in_force.rules.access
        try:
            access.enter(scope["headers"])
            target, headers = _target(scope), access.outgoing(_forwarded(scope))
            body = await read_body(scope, receive, self._limit)
        except ApiError as error:
            self._watcher.refuse(error, scope, request_id(scope["headers"]))
            await send_error(error, (), send)
        except ClientGoneError:
            pass
        else:
            request = UpstreamRequest(scope["method"], target, headers, body)
            await until_gone(relay.run(request, send), receive)


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    target = path + b"?" + query if query else path
    if not target.isascii():
        raise bad_request("the URL must be percent-encoded")
    return target.decode()


def _forwarded(scope: Scope) -> RawHeaders:
    headers: RawHeaders = scope["headers"]
    if _is_text(b",".join([value for _, value in headers])):
        return headers
    for name, value in headers:
        if not _is_text(value):
            field = name.decode("latin-1")
            raise bad_request(f"{field}: must be UTF-8 without control characters", field)
    return headers


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(value)
