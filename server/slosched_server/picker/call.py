"""One gRPC call as its server has it: messages come in, and go out."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum

_PREFIX = 5  # bytes before a message: whether it is packed, and how long it is


class Status(IntEnum):
    """How a call ends, as gRPC numbers it."""

    OK = 0
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class CallError(Exception):
    """A call ends with another status than OK.

    Parameters
    ----------
    status, message
        As the client is told.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Call:
    """Messages of one call, as bytes.

    Parameters
    ----------
    send
        Sends bytes, or keeps them until there is room; returns whether there was.
    most
        Bytes that a message may have.
    send_away
        Asks the client to make its next calls over another connection.

    Attributes
    ----------
    ended
        Whether the client has said all.
    """

    def __init__(
        self, send: Callable[[bytes], bool], most: int, send_away: Callable[[], None]
    ) -> None:
        self._send, self._most, self.send_away = send, most, send_away
        self._inbox: deque[bytes] = deque()
        self._rest = b""
        self.ended = False
        self._failed: CallError | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._when_ended: Callable[[], None] | None = None

    async def read(self) -> bytes | None:
        """Wait for the next message; None once the client has said all.

        Raises
        ------
        CallError
            If what came is no message, or too large a one.
        """
        while not self._inbox:
            if self._failed is not None:
                raise self._failed
            if self.ended:
                return None
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        return self._inbox.popleft()

    async def write(self, message: bytes) -> None:
        """Send a message; waits while the client takes no more."""
        if not self._send(b"\x00%b%b" % (len(message).to_bytes(4), message)):
            self._writing = asyncio.get_running_loop().create_future()
            await self._writing

    def receive(self, data: bytes) -> None:
        """Hear what came; messages may be cut anywhere."""
        data = self._rest + data
        at = 0
        while self._failed is None and len(data) - at >= _PREFIX:
            length = int.from_bytes(data[at + 1 : at + _PREFIX])
            if data[at]:
                self._failed = CallError(Status.UNIMPLEMENTED, "messages must not be packed")
            elif length > self._most:
                text = f"a message of {length} bytes is larger than {self._most}"
                self._failed = CallError(Status.RESOURCE_EXHAUSTED, text)
            elif len(data) - at < _PREFIX + length:
                break
            else:
                self._inbox.append(data[at + _PREFIX : at + _PREFIX + length])
                at += _PREFIX + length
        self._rest = data[at:]
        _wake(self._reading)

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call somebody once the client has said all; at once if it has."""
        self._when_ended = callback
        if self.ended:
            callback()

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for what comes next, and has read all that came."""
        return self._reading is not None and not self._inbox

    def end(self) -> None:
        """Hear that the client has said all."""
        self.ended = True
        _wake(self._reading)
        if self._when_ended is not None:
            self._when_ended()

    def sent(self) -> None:
        """Hear that all that was written has left."""
        _wake(self._writing)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
