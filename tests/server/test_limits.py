"""Clients that send too much, too slowly or too often, and clients that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from slosched_server.app import create_app
from slosched_server.connection import Connection
from slosched_server.connections import Connections
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import listen
from slosched_server.rules import Rules, RulesInForce
from slosched_server.serving import HttpServer
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import FakeEngine, Seen, answer, hang, head
from tests.server.front_end import TAGGER

BODY = b'{"prompt": "p"}'
ASKS = b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
HEALTH = b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n"
HANG_S = 8


@dataclass
class Limited:
    """A front end within limits, before a fake engine."""

    engine: FakeEngine
    connections: Connections
    server: HttpServer
    registry: CollectorRegistry
    address: tuple[str, int]

    def cut(self, reason: str) -> float:
        return (
            self.registry.get_sample_value("slosched_clients_cut_off_total", {"reason": reason})
            or 0.0
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_S):
            while not holds():  # noqa: ASYNC110 - a test's
                await asyncio.sleep(0.01)


@asynccontextmanager
async def limited(**settings: Any) -> AsyncIterator[Limited]:
    chosen, registry = ServerSettings(**settings), CollectorRegistry()
    async with FakeEngine() as engine, HttpUpstream(engine.url, 5.0) as upstream:
        app = create_app(chosen, RulesInForce(Rules(TAGGER)), upstream, registry)
        connections = Connections(chosen, app.state.stopping, registry)
        server = HttpServer(app, connections)
        listener = listen("127.0.0.1", 0)
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield Limited(engine, connections, server, registry, listener.getsockname())
        finally:
            server.should_exit = server.force_exit = True
            await running


def told(story: Callable[[Limited], Awaitable[None]], **settings: Any) -> None:
    """Run a story before a front end, whose clients are all gone in the end."""

    async def main() -> None:
        async with asyncio.timeout(HANG_S), limited(**settings) as front_end:
            await story(front_end)
            await front_end.until(lambda: len(front_end.connections) == 0)

    with capture_logs():
        asyncio.run(main())


@asynccontextmanager
async def client(
    front_end: Limited, limit: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*front_end.address, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    """Read one answer of a stated length."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    fields = [line.split(b": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in fields}
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return int(first.split()[1]), headers, body


async def refused(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Read an error, after which the connection ends."""
    status, headers, body = await answer_of(reader)
    assert headers[b"connection"] == b"close"
    assert await reader.read() == b""
    return status, json.loads(body)["error"]["code"]


async def cut(reader: asyncio.StreamReader) -> None:
    """Wait for the end of a connection, whatever was said before."""
    with suppress(ConnectionError):
        await reader.read()


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /health HTTP/1.1\r\nx: " + b"a" * 100_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
        b"GET /health?" + b"a" * 100_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + b"a" * 100_000,
    ],
    ids=["value", "headers", "url", "whole", "name"],
)
def test_a_flood_of_headers_is_refused(flood: bytes) -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(flood)
            assert await refused(reader) == (431, "headers_too_large")
        assert front_end.cut("large_head") == 1

    told(story, max_header_bytes=16_384)


def test_a_head_within_bounds_may_come_with_a_large_body() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            body = json.dumps({"prompt": "p" * 200_000}).encode()
            writer.write(ASKS[: ASKS.index(b"content-length")])
            writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
            assert (await answer_of(reader))[0] == 200
        assert front_end.engine.seen[0].header(b"host")

    told(story, max_header_bytes=1024)


def test_trailers_without_end_are_cut_off() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"2\r\n{}\r\n0\r\n")
            await front_end.until(lambda: front_end.connections.busy == 1)
            writer.write(b"a: b\r\n" * 4000)
            assert await refused(reader) == (431, "headers_too_large")

    told(story, max_header_bytes=16_384)


def test_no_http_is_refused_in_openais_form() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(b"hello\r\n\r\n")
            assert await refused(reader) == (400, "invalid_http")

    told(story)


def test_what_comes_after_a_request_takes_nothing_from_its_answer() -> None:
    """A header whose value ends the head, say: the rest of it is no request."""

    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(b"PATCH /v1/completions HTTP/1.1\r\nx: \r\n\r\nx: 0\r\n\r\n")
            status, _, _ = await answer_of(reader)
            assert status == 405
            assert await reader.read() == b""
        front_end.engine.reply = answer(b"whole")
        async with client(front_end) as (reader, writer):
            writer.write(ASKS + b"no request\r\n\r\n" + b"x" * 100_000)
            status, _, body = await answer_of(reader)
            assert (status, body) == (200, b"whole")
            assert await reader.read() == b""

    told(story)


def test_requests_may_be_pipelined_but_not_without_end() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(HEALTH * 3)
            for _ in range(3):
                assert (await answer_of(reader))[0] == 200
        async with client(front_end) as (reader, writer):
            writer.write(HEALTH * 100)
            await cut(reader)

    told(story)


class Wire(asyncio.Transport):
    """What a connection writes to, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = bytearray(), False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"[%d]" % length})


def on_a_wire(pieces: Sequence[bytes], **limits: Any) -> tuple[bytes, Connections]:
    """Send some bytes as they are cut; return what is answered."""

    async def main() -> tuple[bytes, Connections]:
        settings = ServerSettings(**limits)
        connections = Connections(settings, asyncio.Event(), CollectorRegistry())
        server, wire = HttpServer(_echo, connections), Wire()
        server.config.load()
        connection = Connection(
            connections, config=server.config, server_state=server.server_state, app_state={}
        )
        connection.connection_made(wire)
        for piece in pieces:
            if not wire.closed:
                connection.data_received(piece)
            while server.server_state.tasks:
                await asyncio.sleep(0)
                if connection.cycle is not None and not connection.cycle.message_event.is_set():
                    break
        connection._unset_keepalive_if_required()
        connection.connection_lost(None)
        await asyncio.gather(*server.server_state.tasks)
        return bytes(wire.written), connections

    return asyncio.run(main())


@given(st.lists(st.integers(1, 60)), st.integers(1, 4), st.booleans())
def test_whatever_the_pieces_requests_within_bounds_are_served(
    sizes: list[int], requests: int, at_once: bool
) -> None:
    """Bounds are about bytes, and not about how they come."""
    whole, pieces = ASKS * requests, []
    for size in sizes:
        pieces.append(whole[:size])
        whole = whole[size:]
    answered, connections = on_a_wire([*filter(None, pieces), whole], max_header_bytes=1024)
    assert answered.count(b"HTTP/1.1 200 OK") == answered.count(b"[15]") == requests
    assert len(connections) == 0


@given(st.integers(1, 3000), st.lists(st.integers(1, 5000), max_size=5))
def test_a_head_is_refused_where_it_is_too_large_and_only_there(size: int, cuts: list[int]) -> None:
    """The bound is exact but for separators: a head of n bytes has n - 16 to n of them counted."""
    line = b"GET / HTTP/1.1\r\n"
    whole = line + b"x: " + b"y" * max(size - len(line) - 7, 0) + b"\r\n\r\n"
    pieces, at = [], 0
    for cut_at in [*sorted(cuts), len(whole)]:
        pieces.append(whole[at:cut_at])
        at = cut_at
    answered, _ = on_a_wire([piece for piece in pieces if piece], max_header_bytes=1024)
    if len(whole) <= 1024:
        assert b"200 OK" in answered
    elif len(whole) > 1024 + len(line) + 2:
        assert b" 431 " in answered


# -- time ------------------------------------------------------------------------------------------


def test_a_head_that_does_not_come_to_its_end_is_given_up() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(HEALTH[:20])
            assert await refused(reader) == (408, "request_timeout")
        async with client(front_end) as (reader, writer):
            assert await reader.read() == b""  # it never said a word
        assert front_end.cut("slow_head") == 2

    told(story, client_timeout_s=0.05)


def test_a_slow_head_after_an_answer_is_given_up() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(HEALTH)
            assert (await answer_of(reader))[0] == 200
            writer.write(b"\r\n")
            assert await refused(reader) == (408, "request_timeout")

    told(story, client_timeout_s=0.05)


def test_a_body_that_does_not_come_is_given_up_and_the_engine_never_asked() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (reader, writer):
            writer.write(ASKS[:-3])
            assert await refused(reader) == (408, "request_timeout")
        assert front_end.cut("slow_body") == 1
        assert not front_end.engine.seen

    told(story, client_timeout_s=0.05)


def test_a_slow_engine_is_waited_for() -> None:
    async def story(front_end: Limited) -> None:
        released = asyncio.Event()

        async def later(_: Seen, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            writer.write(head(200, [(b"content-length", b"2")]) + b"{}")

        front_end.engine.reply = later
        async with client(front_end) as (reader, writer):
            writer.write(ASKS)
            await front_end.engine.begun.acquire()
            for _ in range(5):
                front_end.connections.sweep(asyncio.get_running_loop().time() + 1e3)
            released.set()
            assert (await answer_of(reader))[0] == 200

    told(story)


# -- clients that do not read ----------------------------------------------------------------------


async def _pour(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Say something without an end, as fast as it is read."""
    writer.write(head(200, [(b"content-type", b"text/event-stream")]))
    with suppress(ConnectionError):
        while True:
            writer.write(b"data: " + b"x" * 1000 + b"\n\n")
            await writer.drain()
    await hang(seen, writer)  # until it is seen that nobody is there any more


def test_who_does_not_read_is_cut_and_the_engine_released() -> None:
    async def story(front_end: Limited) -> None:
        front_end.engine.reply = _pour
        async with client(front_end, limit=1024) as (_, writer):
            writer.write(ASKS)
            await front_end.engine.gone.acquire()
        assert front_end.cut("unread") == 1

    told(story, write_timeout_s=0.1)


def test_who_does_not_read_makes_no_memory_grow() -> None:
    async def story(front_end: Limited) -> None:
        front_end.engine.reply = _pour
        async with client(front_end, limit=1024) as (_, writer):
            writer.write(ASKS)
            held = 0
            (connection,) = await _one(front_end)
            await front_end.until(lambda: connection.flow.write_paused)
            for _ in range(20):
                await asyncio.sleep(0.01)
                held = max(held, connection.transport.get_write_buffer_size())
            assert held < 1_000_000  # high-water marks, and pieces of 256 kB that were on the way
        await front_end.engine.gone.acquire()

    told(story)


async def _one(front_end: Limited) -> list[Any]:
    await front_end.until(lambda: front_end.connections.busy == 1)
    return list(front_end.connections._there)


def test_who_reads_slowly_is_served() -> None:
    async def story(front_end: Limited) -> None:
        async def long(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(head(200, [(b"content-length", b"8000000")]))
            writer.write(b"x" * 8_000_000)
            await writer.drain()

        front_end.engine.reply = long
        async with client(front_end, limit=1024) as (reader, writer):
            writer.write(ASKS)
            await reader.readuntil(b"\r\n\r\n")
            left = 8_000_000
            while left:
                piece = await reader.read(500_000)
                assert piece
                left -= len(piece)
                front_end.connections.sweep(asyncio.get_running_loop().time())

    told(story)


# -- room ------------------------------------------------------------------------------------------


def test_idle_clients_make_room_for_others_who_waits_longest_first() -> None:
    async def story(front_end: Limited) -> None:
        async with client(front_end) as (first, asks), client(front_end) as (second, begins):
            asks.write(HEALTH)
            assert (await answer_of(first))[0] == 200
            begins.write(HEALTH[:9])
            async with client(front_end) as (third, writer):
                writer.write(HEALTH)
                assert (await answer_of(third))[0] == 200
                assert await second.read() == b""  # the first one was served since it came
                asks.write(HEALTH)
                assert (await answer_of(first))[0] == 200
        assert front_end.cut("no_room") == 1

    told(story, max_connections=2)


def test_where_all_work_others_are_told_to_come_again() -> None:
    async def story(front_end: Limited) -> None:
        front_end.engine.reply = _pour
        async with client(front_end) as (busy, writer):
            writer.write(ASKS)
            await busy.readuntil(b"data: ")
            async with client(front_end) as (reader, surplus):
                surplus.write(HEALTH)
                status, headers, _ = await answer_of(reader)
                assert (status, headers[b"retry-after"]) == (503, b"1")
                assert await reader.read() == b""
        assert front_end.cut("no_room") == 1

    told(story, max_connections=1)


def test_of_many_more_the_connection_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slosched_server.connections._SURPLUS", 1)

    async def story(front_end: Limited) -> None:
        front_end.engine.reply = _pour
        async with client(front_end) as (busy, writer):
            writer.write(ASKS)
            await busy.readuntil(b"data: ")
            async with client(front_end), client(front_end) as (reader, _):
                await cut(reader)

    told(story, max_connections=1)


# -- the end ---------------------------------------------------------------------------------------


def test_a_stop_lets_who_is_there_finish_and_turns_others_away() -> None:
    async def story(front_end: Limited) -> None:
        released = asyncio.Event()

        async def later(_: Seen, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            writer.write(head(200, [(b"content-length", b"2")]) + b"{}")

        front_end.engine.reply = later
        async with client(front_end) as (kept, asks), client(front_end) as (busy, writer):
            asks.write(HEALTH)
            assert (await answer_of(kept))[0] == 200
            writer.write(ASKS)
            await front_end.engine.begun.acquire()
            draining = asyncio.create_task(front_end.server.drain())
            await front_end.until(lambda: front_end.connections.refuses)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*front_end.address)
            asks.write(ASKS)
            status, headers, body = await answer_of(kept)
            assert (status, headers[b"retry-after"]) == (503, b"1")
            assert json.loads(body)["error"]["code"] == "stopping"
            assert await kept.read() == b""
            released.set()
            status, headers, _ = await answer_of(busy)
            assert (status, headers[b"connection"]) == (200, b"close")
            await draining

    told(story)


def test_during_the_delay_all_is_served_and_nobody_kept() -> None:
    async def story(front_end: Limited) -> None:
        draining = asyncio.create_task(front_end.server.drain())
        await front_end.until(front_end.connections.is_stopping.is_set)
        for path, expected in ((b"/ready", 503), (b"/health", 200), (b"/metrics", 200)):
            async with client(front_end) as (reader, writer):
                writer.write(HEALTH.replace(b"/health", path))
                status, headers, _ = await answer_of(reader)
                assert (status, headers[b"connection"]) == (expected, b"close")
        async with client(front_end) as (reader, writer):
            writer.write(ASKS)
            assert (await answer_of(reader))[0] == 200
        draining.cancel()

    told(story, drain_delay_s=600.0)


def test_who_answers_without_an_end_is_told_of_the_stop() -> None:
    async def story(front_end: Limited) -> None:
        app: Any = front_end.server.config.app

        @app.get("/endless")
        async def endless(request: Request) -> StreamingResponse:
            async def events() -> AsyncIterator[bytes]:
                yield b"data: begun\n\n"
                await request.app.state.stopping.wait()
                yield b"data: ended\n\n"

            return StreamingResponse(events(), media_type="text/event-stream")

        async with client(front_end) as (reader, writer):
            writer.write(HEALTH.replace(b"/health", b"/endless"))
            await reader.readuntil(b"begun")
            await front_end.server.drain()
            assert b"data: ended" in await reader.read()

    told(story)
