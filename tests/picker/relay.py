"""What a Service does: it leads each new connection somewhere, and leaves it there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Relay:
    """A port that leads to others.

    Parameters
    ----------
    port
        Where it listens.
    to
        The ports to which the next connections lead; the last of them stays.
    led
        To which those so far have led.
    """

    port: int
    to: list[int]
    led: list[int] = field(default_factory=list)


@asynccontextmanager
async def relay(*to: int) -> AsyncIterator[Relay]:
    """Open one."""
    pipes: set[asyncio.Task[None]] = set()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = way.to.pop(0) if len(way.to) > 1 else way.to[0]
        way.led.append(port)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        both = ((reader, there_writer), (there_reader, writer))
        pipes.update(asyncio.create_task(_pipe(*one)) for one in both)

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    way = Relay(server.sockets[0].getsockname()[1], list(to))
    try:
        yield way
    finally:
        server.close()
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
