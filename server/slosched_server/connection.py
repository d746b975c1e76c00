"""One client's connection: uvicorn's protocol within bounds of size and time."""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from slosched_server.connections import Connections, Reason
from slosched_server.cork import CorkedHttp
from slosched_server.errors import ApiError, head_too_large, invalid_http, too_slow

_PIPELINED = 16  # requests that a client may send before it has an answer


class _Reading(Enum):
    """What is to come from the client next."""

    NOTHING_YET = auto()  # a request may begin
    HEAD = auto()
    BODY = auto()
    NOTHING = auto()  # until the answer is out


class _RefusedError(Exception):
    """The parser is to go no further; uvicorn then asks for a 400."""


class Connection(CorkedHttp):
    """Holds a client to the limits; what it has to say in bounds is none of its affair.

    The parser keeps what it has of a head, or of the trailers of a body, without any bound, and
    uvicorn waits for the rest for ever. What a client does not read is bounded by the flow control
    of transport and application; but for how long is not.

    Parameters
    ----------
    connections
        All of them.
    """

    def __init__(self, connections: Connections, **uvicorns: Any) -> None:  # noqa: ANN401
        super().__init__(**uvicorns)
        self._all, self._settings = connections, connections.settings
        self._reading = _Reading.NOTHING_YET
        self._since = self.loop.time()  # s, when that began, or a piece of it last came
        self._chunk = 0  # bytes, the newest from the client
        self._kept = 0  # bytes at most that the parser keeps
        self._deaf = False  # to what comes after a request that is none
        self._unread = 0  # bytes that the client had not read when we last looked,
        self._read_at = self._since  # and when it had last read any, s

    # -- from the client -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to serve a client, if there is room for it."""
        super().connection_made(transport)
        if not self._all.came(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is done for the client."""
        self._all.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; too much of a head is refused before it is whole."""
        if self._deaf:
            return
        self._chunk = len(data)
        self._kept += self._chunk
        if self._reading is _Reading.NOTHING_YET:
            self._begin_head()
        super().data_received(data)
        incomplete = self._reading in {_Reading.HEAD, _Reading.BODY}
        if incomplete and self._kept > self._settings.max_header_bytes:
            self._cut("large_head", head_too_large(self._settings.max_header_bytes))

    def _begin_head(self) -> None:
        self._reading, self._since = _Reading.HEAD, self.loop.time()
        self._kept = self._chunk

    def on_message_begin(self) -> None:
        """Begin with a head, of which there may be a piece with the request before."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Let a request be answered, by the application or in its place."""
        limit = self._settings.max_header_bytes
        if self._kept > limit and self._head_bytes() > limit:
            raise _RefusedError
        if len(self.pipeline) > _PIPELINED:
            raise _RefusedError
        self._reading, self._since, self._kept = _Reading.BODY, self.loop.time(), 0
        self._all.waiting.pop(self, None)
        if self._all.turns_away(self):
            self.app = self._all.instead_of(self.config.loaded_app)
        super().on_headers_complete()
        if self._all.is_stopping.is_set():
            self.last()

    def last(self) -> None:
        """Let the answer that is under way be the last one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._since, self._kept = self.loop.time(), 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect nothing more until the answer is out."""
        super().on_message_complete()
        answered = self.cycle is not None and self.cycle.response_complete
        self._reading = _Reading.NOTHING_YET if answered else _Reading.NOTHING
        self._kept = 0

    def on_response_complete(self) -> None:
        """Expect the next request."""
        super().on_response_complete()
        if self._reading is _Reading.NOTHING:
            self._reading = _Reading.NOTHING_YET
        if not (self.pipeline or self._is_busy or self.transport.is_closing()):
            self._all.waiting[self] = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or not within bounds."""
        del msg
        limit = self._settings.max_header_bytes
        if self._kept > limit:
            self._cut("large_head", head_too_large(limit))
        else:
            self._refuse(invalid_http())

    # -- who takes too long --------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Cut off a client that takes longer than it may, for its request or for our answer."""
        if self.flow.read_paused or (self._is_busy and self._reading is not _Reading.BODY):
            self._since = now  # it is we who take long
        late = now - self._since > self._settings.client_timeout_s
        if late and self._reading is _Reading.HEAD:
            self._cut("slow_head", too_slow())
        elif late and self._reading is _Reading.BODY:
            self._cut("slow_body", too_slow())
        elif late and self.cycle is None:
            self.leave("slow_head")
        unread = self.transport.get_write_buffer_size()
        if not unread or unread != self._unread:
            self._unread, self._read_at = unread, now
        elif now - self._read_at > self._settings.write_timeout_s:
            self._all.cut("unread")
            self.transport.abort()

    def leave(self, reason: Reason) -> None:
        """Hang up on a client that has no request."""
        self._all.cut(reason)
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _cut(self, reason: Reason, error: ApiError) -> None:
        if not self.transport.is_closing():
            self._all.cut(reason)
            self._refuse(error)

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error, if nothing of an answer is out yet, and hang up."""
        if self.transport.is_closing():
            return
        if self._is_busy and self._reading is _Reading.HEAD:
            # The answer that is under way is whole and the last one: what came after its request
            # is nothing that could have another.
            self.last()
            self._deaf = True
            return
        if self._is_busy:
            if self.cycle.response_started:
                self.transport.abort()  # it would be taken for a part of another answer
                return
            # What the application says from now on is lost.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif self._reading is _Reading.BODY:
            self.transport.close()  # it has its answer, and did not wait for it
            return
        self.transport.write(_answer(error))
        self.transport.close()


def _answer(error: ApiError) -> bytes:
    """Write an answer of which the application knows nothing."""
    body = error.body()
    lines = [
        b"HTTP/1.1 %d %b" % (error.status, HTTPStatus(error.status).phrase.encode()),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    return b"\r\n".join([*lines, b"", body])
