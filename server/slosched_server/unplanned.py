"""Requests before many engines that no plan is made for: embeddings, stored answers, models."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import orjson

from slosched.dispatch import Replica
from slosched_server.members import whole
from slosched_server.sending import REPLICA_HEADER, TRY_ELSEWHERE
from slosched_server.upstream import Upstream, UpstreamAnswer, UpstreamError, UpstreamRequest

_JSON = (b"content-type", b"application/json")

Ready = Sequence[tuple[Replica, Upstream]]


class Unplanned:
    """Sends them to who can answer them, of those that are ready."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def send(
        self, request: UpstreamRequest, ready: Ready
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Send a request, and stream its answer; see `Upstream`."""
        path = request.target.partition("?")[0]
        if path == "/health":
            return _page(200 if ready else 503, (), b"")
        if path == "/v1/models":
            return _models(request, ready)
        if path.startswith("/v1/responses/"):
            # Only the replica that has made an answer knows of it.
            return self._in_turn(request, ready, passes_on=(404, *TRY_ELSEWHERE))
        least = sorted(ready, key=lambda pair: self._load(pair[0]))[:2]
        return self._in_turn(request, least, passes_on=TRY_ELSEWHERE)

    def _load(self, replica: Replica) -> int:
        return replica.outstanding + self._asked[replica.name]

    @asynccontextmanager
    async def _in_turn(
        self, request: UpstreamRequest, ready: Ready, passes_on: Container[int]
    ) -> AsyncIterator[UpstreamAnswer]:
        """Ask one after the other, until there is an answer with another status than these."""
        failure = UpstreamError("no replica is ready")
        for number, (replica, upstream) in enumerate(ready, 1):
            self._asked[replica.name] += 1
            try:
                async with AsyncExitStack() as stack:
                    try:
                        answer = await stack.enter_async_context(upstream.send(request))
                    except UpstreamError as error:
                        failure = error
                        continue
                    if answer.status in passes_on and number < len(ready):
                        continue
                    name = (REPLICA_HEADER, replica.name.encode())
                    yield replace(answer, headers=[*answer.headers, name])
                    return
            finally:
                self._asked[replica.name] -= 1
        raise failure


@asynccontextmanager
async def _models(request: UpstreamRequest, ready: Ready) -> AsyncIterator[UpstreamAnswer]:
    """Answer what all serve; if nobody tells, what the first says instead."""
    # An answer that is packed could not be read here.
    plain = [pair for pair in request.headers if pair[0].lower() != b"accept-encoding"]
    asking = UpstreamRequest("GET", request.target, plain)
    answers = await asyncio.gather(*(whole(upstream, asking) for _, upstream in ready))
    models = {key: model for _, body in answers for key, model in _listed(body).items()}
    if models:
        status, body = 200, orjson.dumps({"object": "list", "data": list(models.values())})
    else:
        status, body = next(((s, b) for s, b in answers if b), (502, b""))
    if not body:
        raise UpstreamError("no replica tells its models")
    async with _page(status, (_JSON,), body) as page:
        yield page


@asynccontextmanager
async def _page(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> AsyncIterator[UpstreamAnswer]:
    async def once() -> AsyncIterator[bytes]:
        yield body

    length = (b"content-length", b"%d" % len(body))
    yield UpstreamAnswer(status, [*headers, length], once())


def _listed(body: bytes) -> dict[str, object]:
    try:
        return {model["id"]: model for model in orjson.loads(body)["data"]}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
