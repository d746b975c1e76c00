"""A fake of vLLM's server that decides over every byte, in this process or as a program.

As a program: `python fake_engine.py --port N ...`; `FAKE_ENGINE` says how it misbehaves and
`FAKE_ENGINE_PIDS` names a file to which it adds the ids of its processes.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

MODELS = b'{"object":"list","data":[{"id":"fake"}]}'


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


Reply = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes = b"{}",
    status: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),),
) -> Reply:
    """Answer in one piece."""

    async def reply(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, [*headers, (b"content-length", b"%d" % len(body))]) + body)
        await writer.drain()

    return reply


def stream(
    chunks: Sequence[bytes],
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"text/event-stream"),),
    then: Reply | None = None,
) -> Reply:
    """Answer chunk by chunk, and then end the body, or do something else."""

    async def reply(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, [*headers, (b"transfer-encoding", b"chunked")]))
        for chunk in filter(None, chunks):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        if then:
            await then(seen, writer)
        else:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    return reply


async def hang(_: Seen, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def die(_: Seen, writer: asyncio.StreamWriter) -> None:
    # After what was written: an abort would throw away bytes that the test expects.
    writer.close()


def head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    lines = [b"HTTP/1.1 %d Whatever" % status, *(b"%b: %b" % pair for pair in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass
class FakeEngine:
    """Listens on loopback; `gone` counts the clients that hung up within an answer."""

    reply: Reply = field(default_factory=answer)
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    gone: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    models: Reply = field(default_factory=lambda: answer(MODELS))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing() and await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await _read(reader)
        if seen is None:
            return False
        self.seen.append(seen)
        work = asyncio.ensure_future(self._reply_to(seen)(seen, writer))
        hung_up = asyncio.ensure_future(reader.read(1))
        self.begun.release()
        await asyncio.wait({work, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            self.gone.release()
            return False
        await work
        hung_up.cancel()
        await asyncio.wait({hung_up})
        # The byte that it may have eaten by now is the next request's: end the connection then.
        return hung_up.cancelled()

    def _reply_to(self, seen: Seen) -> Reply:
        if seen.target == "/health":
            return answer(b"", headers=())
        return self.models if seen.target.startswith("/v1/models") else self.reply


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.decode().split(" ")
    headers = [(key, value.strip()) for key, _, value in (line.partition(b":") for line in lines)]
    seen = Seen(method, target, headers, b"")
    if seen.header(b"transfer-encoding") == b"chunked":
        seen.body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        seen.body = await reader.readexactly(int(seen.header(b"content-length") or 0))
    return seen


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


def _crash(_: Seen, __: asyncio.StreamWriter) -> Awaitable[None]:
    os._exit(7)


async def _serve(port: int, reply: Reply) -> None:
    async with FakeEngine(reply, port):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_known_args()[0].port
    manner = os.environ.get("FAKE_ENGINE", "")
    pids = [os.getpid()]
    if "stubborn" in manner:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "family" in manner:
        # Like vLLM's workers, and one that does not listen.
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
        pids.append(subprocess.Popen([sys.executable, "-c", code]).pid)
    if path := os.environ.get("FAKE_ENGINE_PIDS"):
        with Path(path).open("a") as file:
            file.writelines(f"{pid}\n" for pid in pids)
    if "fails" in manner:
        sys.exit("fake engine: no memory")
    if "never ready" in manner:
        time.sleep(300)
    slow = stream([b"data: 1\n\n"] * 3, then=hang if "hangs" in manner else _after(1.0))
    asyncio.run(_serve(port, _crash if "crashes" in manner else slow))


def _after(seconds: float) -> Reply:
    async def reply(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(b"6\r\nlast\n\n\r\n0\r\n\r\n")

    return reply


if __name__ == "__main__":
    main()
