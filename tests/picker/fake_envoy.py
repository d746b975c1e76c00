"""A fake of Envoy's side of one exchange: it says what a test wants said, in that order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.struct_pb2 import Struct

from slosched_server.picker.desk import Desk
from slosched_server.picker.exchange import exchange
from slosched_server.picker.ext_proc_pb2 import (
    FULL_DUPLEX_STREAMED,
    BodySendMode,
    HeaderMap,
    HeaderValue,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ImmediateResponse,
    Metadata,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)

COMPLETIONS = "/v1/completions"
WHOLE = b'{"choices":[{"index":0,"finish_reason":"stop","text":"a"}]}'
Fields = Sequence[tuple[bytes, bytes]]
_HANGS_S = 60.0


class FakeEnvoy:
    """A `Stream` of which a test decides what is read, and sees what was written."""

    def __init__(self) -> None:
        self._says: asyncio.Queue[ProcessingRequest | None] = asyncio.Queue()
        self._said: list[ProcessingRequest | None] = []
        self._heard: asyncio.Queue[ProcessingResponse] = asyncio.Queue()
        self._ended = False
        self._when_ended: Callable[[], None] = lambda: None
        self.task: asyncio.Task[None] | None = None

    async def read(self) -> ProcessingRequest | None:
        if self._ended:
            return None
        message = await self._says.get()
        self._ended = message is None
        return message

    async def write(self, message: ProcessingResponse) -> None:
        self._heard.put_nowait(message)

    def when_ended(self, callback: Callable[[], None]) -> None:
        self._when_ended = callback
        if None in self._said:
            callback()

    def say(self, *messages: ProcessingRequest) -> None:
        for message in messages:
            self._said.append(message)
            self._says.put_nowait(message)

    def end(self) -> None:
        """Say no more, as at the end of an answer that is not shown."""
        self._said.append(None)
        self._says.put_nowait(None)
        self._when_ended()

    def reset(self) -> None:
        """Break the exchange off, as Envoy does when its client hangs up; who serves it stops."""
        assert self.task
        self.task.cancel()

    async def hears(self, kind: str) -> ProcessingResponse:
        """Wait for the next message, which is to be of that kind."""
        async with asyncio.timeout(_HANGS_S):
            message = await self._heard.get()
        assert message.WhichOneof("response") == kind, message
        return message

    @property
    def hears_nothing(self) -> bool:
        return self._heard.empty()

    async def answered(self) -> "Refused | Sent":
        """Hear what becomes of a request whose body was sent in pieces: one or the other."""
        async with asyncio.timeout(_HANGS_S):
            message = await self._heard.get()
        if message.HasField("immediate_response"):
            assert self.hears_nothing
            return Refused.of(message.immediate_response)
        return await self._with_body(Sent.of(message))

    async def refused(self) -> "Refused":
        """Hear that the request is answered in place of any engine, and that nothing follows."""
        said = await self.answered()
        assert isinstance(said, Refused), said
        return said

    async def sent(self) -> "Sent":
        """Hear where a request goes whose body was sent in pieces, and hear the body."""
        said = await self.answered()
        assert isinstance(said, Sent), said
        return said

    async def sent_unread(self) -> "Sent":
        """Hear where a request goes whose body nobody reads."""
        return Sent.of(await self.hears("request_headers"))

    async def passed_body(self) -> bytes:
        """Hear a request's body in pieces."""
        passed = b""
        while True:
            piece = (await self.hears("request_body")).request_body.response
            streamed = piece.body_mutation.streamed_response
            assert len(streamed.body) < 64 * 1024
            passed += streamed.body
            if streamed.end_of_stream:
                return passed

    async def _with_body(self, sent: "Sent") -> "Sent":
        sent.body = await self.passed_body()
        return sent


@dataclass
class Sent:
    """What becomes of a request.

    Parameters
    ----------
    endpoints
        Where it goes, the first first.
    headers, without
        That it is to have, and not to have.
    """

    endpoints: list[str]
    headers: dict[str, bytes]
    without: list[str]
    body: bytes = b""

    @classmethod
    def of(cls, message: ProcessingResponse) -> "Sent":
        change = getattr(message, str(message.WhichOneof("response"))).response
        headers = _set(change)
        said = headers.pop("x-gateway-destination-endpoint").decode()
        told = message.dynamic_metadata.fields["envoy.lb"].struct_value
        assert told.fields["x-gateway-destination-endpoint"].string_value == said
        assert change.clear_route_cache
        without = list(change.header_mutation.remove_headers)
        return cls(said.split(","), headers, without, change.body_mutation.body)

    @property
    def xargs(self) -> dict[str, object]:
        found: dict[str, object] = orjson.loads(self.body)["vllm_xargs"]
        return found


@dataclass
class Refused:
    """What a client is told in place of an engine's answer."""

    status: int
    headers: dict[str, bytes]
    error: dict[str, Any]

    @classmethod
    def of(cls, said: ImmediateResponse) -> "Refused":
        return cls(said.status.code, _set(said), orjson.loads(said.body)["error"])


def _set(change: Any) -> dict[str, bytes]:
    mutation = change.header_mutation if hasattr(change, "header_mutation") else change.headers
    return {one.header.key: one.header.raw_value for one in mutation.set_headers}


def answer_headers(message: ProcessingResponse) -> dict[str, bytes]:
    """Return the headers that an answer gets."""
    return _set(message.response_headers.response)


def head(
    headers: Fields = (),
    *,
    target: str = COMPLETIONS,
    method: str = "POST",
    mode: BodySendMode = FULL_DUPLEX_STREAMED,
    shown: BodySendMode = FULL_DUPLEX_STREAMED,
    ended: bool = False,
    subset: Any = None,
) -> ProcessingRequest:
    """Begin an exchange; `mode` is of the request's body, `shown` of the answer's."""
    every = [(b":method", method.encode()), (b":path", target.encode()), *headers]
    context = None
    if subset is not None:
        hint = Struct()
        hint.update({"x-gateway-destination-endpoint-subset": subset})
        context = Metadata(filter_metadata={"envoy.lb.subset_hint": hint})
    return ProcessingRequest(
        request_headers=HttpHeaders(headers=_fields(every), end_of_stream=ended),
        metadata_context=context,
        protocol_config=ProtocolConfiguration(request_body_mode=mode, response_body_mode=shown),
    )


def body(content: bytes = b"{}", *, last: bool = True) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=content, end_of_stream=last))


def trailers() -> ProcessingRequest:
    return ProcessingRequest(request_trailers=HttpTrailers())


def answer_head(status: int = 200, served: str = "", *, ended: bool = False) -> ProcessingRequest:
    """Begin an answer; `served` is the endpoint that gives it."""
    context = None
    if served:
        said = Struct()
        said.update({"x-gateway-destination-endpoint-served": served})
        context = Metadata(filter_metadata={"envoy.lb": said})
    fields = _fields([(b":status", b"%d" % status)])
    return ProcessingRequest(
        response_headers=HttpHeaders(headers=fields, end_of_stream=ended), metadata_context=context
    )


def answer_body(content: bytes, *, last: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=content, end_of_stream=last))


def answer_trailers() -> ProcessingRequest:
    return ProcessingRequest(response_trailers=HttpTrailers())


def _fields(pairs: Fields) -> HeaderMap:
    # As Envoy: by `raw_value`, whatever the bytes.
    every = [HeaderValue(key=name.decode("latin-1"), raw_value=value) for name, value in pairs]
    return HeaderMap(headers=every)


@asynccontextmanager
async def asking(desk: Desk, *messages: ProcessingRequest) -> AsyncIterator[FakeEnvoy]:
    """Let Envoy ask; on leaving, the exchange has come to its end without an error."""
    envoy = FakeEnvoy()
    envoy.say(*messages)
    envoy.task = asyncio.create_task(exchange(desk, envoy))
    try:
        yield envoy
        async with asyncio.timeout(_HANGS_S):
            await asyncio.wait({envoy.task})
        if not envoy.task.cancelled():
            envoy.task.result()
    finally:
        envoy.task.cancel()
        await asyncio.gather(envoy.task, return_exceptions=True)
