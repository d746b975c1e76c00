"""What Envoy and the picker say of one request, whichever way the gateway sends bodies."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from slosched_server.errors import ApiError, body_too_large
from slosched_server.picker import messages
from slosched_server.picker.ext_proc_pb2 import FULL_DUPLEX_STREAMED, HttpBody, ProcessingRequest
from slosched_server.picker.head import SERVED, Head, said, status_and_streams
from slosched_server.picker.stream import Stream
from slosched_server.upstream import RawHeaders

_LENGTH = b"content-length"


class GoneError(Exception):
    """Envoy ended the exchange: most often, its client hung up."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """How an answer begins.

    Parameters
    ----------
    status
        The HTTP status.
    served
        The endpoint that answers, "" if the gateway does not say.
    streams
        Whether it comes event by event.
    """

    status: int
    served: str
    streams: bool


class Dialogue:
    """One exchange, of which the head has come.

    Parameters
    ----------
    stream
        To Envoy.
    head
        Of the request.
    """

    def __init__(self, stream: Stream, head: Head) -> None:
        self._stream, self.head = stream, head
        self._trailers = self._answered = False

    async def body(self, most: int) -> bytes:
        """Read the request's body to its end.

        Raises
        ------
        ApiError
            If it has more than `most` bytes.
        GoneError
            If the client hangs up first.
        """
        body, more = bytearray(), not self.head.ended
        if more and self.head.buffered:
            await self._stream.write(messages.HEAD)
        while more:
            message = await self._next()
            if message.HasField("request_trailers"):
                self._trailers = True
                break
            body += message.request_body.body
            if len(body) > most:
                raise body_too_large(most)
            # A buffered one comes whole, and is not its own end where trailers follow.
            more = not (self.head.buffered or message.request_body.end_of_stream)
        return bytes(body)

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call somebody if Envoy ends the exchange while the request waits."""
        self._stream.when_ended(callback)

    async def send(self, endpoints: str, headers: RawHeaders, body: bytes) -> None:
        """Send a request whose body was read to endpoints, with headers in place of its own."""
        new, without = self._changes([*headers, (_LENGTH, b"%d" % len(body))])
        if self.head.buffered and not self.head.ended:
            await self._stream.write(messages.whole_body(endpoints, new, without, body))
            return
        await self._stream.write(messages.sent_to(endpoints, new, without))
        if not self.head.ended:
            for message in messages.request_body(body, last=not self._trailers):
                await self._stream.write(message)
        if self._trailers:
            await self._stream.write(messages.TRAILERS)

    async def send_unread(self, endpoints: str, headers: RawHeaders) -> None:
        """Send a request on whose body nobody wants to read."""
        await self._stream.write(messages.sent_to(endpoints, *self._changes(headers)))

    async def refuse(self, error: ApiError, headers: RawHeaders = ()) -> None:
        """Answer in place of any engine; that is the end."""
        await self._stream.write(messages.instead(error, headers))

    async def answer_head(self) -> AnswerHead:
        """Wait for an answer to begin; what is left of the request passes as it is."""
        while True:
            message = await self._next()
            if message.HasField("response_headers"):
                break
            await self._pass(message)
        head = message.response_headers
        served = said(message.metadata_context, SERVED)
        self._answered = head.end_of_stream
        endpoint = served.string_value if served else ""
        status, streams = status_and_streams(head.headers)
        return AnswerHead(status, endpoint, streams)

    async def answer(self, headers: RawHeaders = ()) -> AsyncIterator[bytes]:
        """Let the answer pass, with headers in place of the engine's; give what is seen of it.

        Where the gateway does not send answers here, one that breaks off ends like any other.

        Raises
        ------
        GoneError
            If it breaks off, or the client hangs up.
        """
        await self._stream.write(messages.answer_head(headers))
        while not self._answered:
            message = await self._stream.read()
            if message is None and not self.head.shows_answer:
                return  # Envoy says no more of an answer whose body it does not send
            if message is None:
                raise GoneError
            if message.HasField("response_body"):
                yield message.response_body.body
            await self._pass(message)
            ends = message.response_body.end_of_stream
            self._answered = ends or message.HasField("response_trailers")

    def _changes(self, headers: RawHeaders) -> tuple[RawHeaders, Sequence[str]]:
        """Return what is to be set, and what to be removed, so that a request has these headers."""
        before, after = self.head.headers, dict(headers)
        if headers == before:
            return (), ()
        gone = {name.decode("latin-1") for name, _ in before if name not in after}
        return [pair for pair in after.items() if pair not in before], sorted(gone)

    async def _next(self) -> ProcessingRequest:
        message = await self._stream.read()
        if message is None:
            raise GoneError
        return message

    async def _pass(self, message: ProcessingRequest) -> None:
        """Let a part of the request or of the answer pass as it is."""
        match message.WhichOneof("request"):
            case "request_body":
                await self._pass_body(message.request_body, of_answer=False)
            case "response_body":
                await self._pass_body(message.response_body, of_answer=True)
            case "request_trailers":
                await self._stream.write(messages.TRAILERS)
            case "response_trailers":
                await self._stream.write(messages.ANSWER_TRAILERS)

    async def _pass_body(self, body: HttpBody, *, of_answer: bool) -> None:
        mode = self.head.answer_mode if of_answer else self.head.request_mode
        if mode != FULL_DUPLEX_STREAMED:
            await self._stream.write(messages.ANSWER_BODY if of_answer else messages.BODY)
            return
        write = messages.answer_body if of_answer else messages.request_body
        for message in write(body.body, last=body.end_of_stream):
            await self._stream.write(message)
