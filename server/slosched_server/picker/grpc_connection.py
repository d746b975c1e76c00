"""gRPC over one connection: HTTP/2 by h2, and each request a call in a task of its own.

grpcio would do all of this; its asyncio server takes twice the CPU time for an exchange of five
messages (0.53 against 0.27 ms), which is most of what a picker does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast
from urllib.parse import quote

import structlog
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from slosched_server.picker.call import Call, CallError, Status

log = structlog.get_logger()

_WINDOW = 1 << 20  # bytes that a client may send of a call ahead
_CALLS = 1 << 16  # at a time
_ALL_WINDOW = (1 << 31) - 1
_LAST_STREAM = (1 << 31) - 1  # that there may be
_TOGETHER = 8  # messages that leave at once: with all in one, client and server would take turns
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # Ours are right, and of the client's only the path is read.
    normalize_outbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    validate_inbound_headers=False,
)
_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]

Method = Callable[[Call], Awaitable[None]]


async def _no_such_method(_: Call) -> None:
    raise CallError(Status.UNIMPLEMENTED, "there is no such method")


class GrpcConnection(asyncio.Protocol):
    """Serves one client.

    Parameters
    ----------
    methods
        By path: `/package.Service/Method`.
    most
        Bytes that a message may have.
    connections
        Where this one is for as long as it is open.
    """

    def __init__(
        self, methods: Mapping[bytes, Method], most: int, connections: "set[GrpcConnection]"
    ) -> None:
        self._methods, self._most, self._connections = methods, most, connections
        self._http = H2Connection(_CONFIG)
        limits = {
            SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: _CALLS,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
        }
        self._http.local_settings = Settings(client=False, initial_values=limits)
        self._calls: dict[int, Call] = {}  # that the client has not given up
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._begun: set[int] = set()
        self._unsent: dict[int, bytearray] = {}  # of a call for which there is no room
        self._gathered = 0  # messages that have not left yet
        self._full = self._sent_away = False

    # -- what comes --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what there is room for."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # uvloop would gather, too
        self._connections.add(self)
        self._http.initiate_connection()
        self._http.increment_flow_control_window(
            _ALL_WINDOW - self._http.inbound_flow_control_window
        )
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls: nobody is there any more."""
        del exc
        self._connections.discard(self)
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Hear what came; calls go on in their tasks."""
        try:
            for event in self._http.receive_data(data):
                self._on(event)
        except ProtocolError as error:
            log.warning("no HTTP/2 that can be understood", reason=str(error))
            self._flush()
            self._transport.close()
            return
        self._flush()

    def pause_writing(self) -> None:
        """Hear that the client does not read."""
        self._full = True

    def resume_writing(self) -> None:
        """Hear that it does again."""
        self._full = False
        self._send_unsent()

    def _on(self, event: Event) -> None:
        match event:
            case DataReceived():
                size = event.flow_controlled_length
                if size:
                    self._http.acknowledge_received_data(size, event.stream_id)
                if (call := self._calls.get(event.stream_id)) and event.data:
                    call.receive(event.data)
            case RequestReceived():
                self._begin(event.stream_id, dict(event.headers))
            case StreamEnded():
                if call := self._calls.get(event.stream_id):
                    call.end()
            case StreamReset():
                self._break_off(event.stream_id)
            case WindowUpdated() | RemoteSettingsChanged():
                self._send_unsent()

    # -- calls -------------------------------------------------------------------------------

    def _begin(self, stream: int, headers: Mapping[bytes, bytes]) -> None:
        call = Call(lambda data: self._send(stream, data), self._most, self._send_away)
        self._calls[stream] = call
        task = self._tasks[stream] = asyncio.create_task(self._serve(stream, headers, call))
        task.add_done_callback(lambda _: self._forget(stream))

    def _break_off(self, stream: int) -> None:
        """Let a call end that the client has given up.

        Whoever listens hears that nothing comes any more: so Envoy ends exchanges at the end of
        answers that it does not show.
        """
        call, task = self._calls.pop(stream, None), self._tasks.get(stream)
        if call is not None and call.is_read:
            call.end()
        elif task is not None:
            task.cancel()

    async def _serve(self, stream: int, headers: Mapping[bytes, bytes], call: Call) -> None:
        status, text = Status.OK, ""
        try:
            await self._methods.get(headers.get(b":path", b""), _no_such_method)(call)
        except CallError as error:
            status, text = error.status, str(error)
        except Exception as error:  # one call's failure is not another's
            status, text = Status.INTERNAL, "internal error"
            log.exception("call failed", reason=str(error))
        self._end(stream, call, status, text)

    def _end(self, stream: int, call: Call, status: Status, text: str) -> None:
        if stream not in self._calls:
            return  # nobody wants to hear how it ended
        fields = [(b"grpc-status", b"%d" % status)]
        if text:
            fields.append((b"grpc-message", quote(text).encode()))
        if stream not in self._begun:
            fields = [*_HEAD, *fields]  # an answer of trailers alone
        with suppress(ProtocolError):  # if the connection is at its end
            self._http.send_headers(stream, fields, end_stream=True)
            if not call.ended:
                # It has more to say, which nobody wants to hear.
                self._http.reset_stream(stream, ErrorCodes.NO_ERROR)
        self._flush_soon()

    def _forget(self, stream: int) -> None:
        for kept in (self._calls, self._tasks, self._unsent):
            kept.pop(stream, None)
        self._begun.discard(stream)

    # -- what goes ---------------------------------------------------------------------------

    def _send(self, stream: int, data: bytes) -> bool:
        """Send a part of an answer, or keep it until there is room; return whether there was."""
        if stream not in self._calls:
            return True  # nobody wants to hear it, and there never will be room
        try:
            if stream not in self._begun:
                self._begun.add(stream)
                self._http.send_headers(stream, _HEAD)
            self._unsent.setdefault(stream, bytearray()).extend(data)
            self._send_some(stream)
        except ProtocolError:  # the connection is at its end: the task is told elsewhere
            self._unsent.pop(stream, None)
        self._flush_soon()
        return stream not in self._unsent

    def _send_unsent(self) -> None:
        for stream in list(self._unsent):
            with suppress(ProtocolError):
                self._send_some(stream)
            if stream not in self._unsent and (call := self._calls.get(stream)):
                call.sent()
        self._flush()

    def _send_some(self, stream: int) -> None:
        """Send what there is room for."""
        unsent, http = self._unsent[stream], self._http
        while unsent and not self._full:
            room = min(http.local_flow_control_window(stream), http.max_outbound_frame_size)
            if room <= 0:
                return
            http.send_data(stream, bytes(unsent[:room]))
            del unsent[:room]
        if not unsent:
            del self._unsent[stream]

    def _flush_soon(self) -> None:
        """Let what is sent now leave together, some at a time."""
        self._gathered += 1
        if self._gathered == _TOGETHER:
            self._flush()
        elif self._gathered == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._gathered = 0
        if data := self._http.data_to_send():
            self._transport.write(data)

    def _send_away(self) -> None:
        """Let the client call elsewhere from now on; what it has begun here goes on.

        It may have begun more by the time it hears of that, so no stream is named that is too many
        (RFC 9113, 6.8). h2 would say it, and then nothing any more.
        """
        if not self._sent_away:
            self._sent_away = True
            self._flush()
            self._transport.write(GoAwayFrame(0, last_stream_id=_LAST_STREAM).serialize())

    def close(self) -> None:
        """Hang up, whatever is going on."""
        with suppress(ProtocolError):
            self._http.close_connection()
        self._flush()
        self._transport.close()
