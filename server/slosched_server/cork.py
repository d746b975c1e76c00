"""Answers that leave in as few packets as they can: what is written together, is sent together."""

import asyncio
from typing import Any

from slosched_server.protocol import Http1


class CorkedHttp(Http1):
    """The HTTP server's protocol, of which head and first bytes of an answer are two writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to serve a client."""
        super().connection_made(Cork(transport, self.loop))  # type: ignore[arg-type]


class Cork:
    """A transport that sends once for all writes of a turn of the loop.

    A system call costs as much as ten writes to a list.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a transport can
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send some bytes before the loop's next turn ends."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(b"".join(self._held))
        self._held.clear()
