"""The connections to an engine: whatever it writes, and however it is cut into packets."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched_server import http_upstream
from slosched_server.http_connection import Connection
from slosched_server.http_upstream import HttpUpstream
from slosched_server.upstream import UpstreamError, UpstreamRequest
from tests.server.fake_engine import FakeEngine, Reply, Seen, answer, die, hang, head, stream

POST = UpstreamRequest("POST", "/v1/completions", body=b"{}")
GET = UpstreamRequest("GET", "/x")
BIG = 8 * 1024 * 1024
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
Story = Callable[[FakeEngine, HttpUpstream], Awaitable[None]]


class Wire(asyncio.Transport):
    """The engine's end of a connection, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.cut, self.paused = b"", False, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked += data

    def abort(self) -> None:
        self.cut = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def chunked(pieces: list[bytes]) -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head(200, [(b"transfer-encoding", b"chunked")]) + parts + b"0\r\nx-trailer: 1\r\n\r\n"


def with_length(pieces: list[bytes]) -> bytes:
    body = b"".join(pieces)
    return head(200, [(b"A", b" 1\t"), (b"content-length", b"%d" % len(body))]) + body


@given(
    pieces=BODIES,
    form=st.sampled_from([chunked, with_length]),
    hint=st.sampled_from([b"", head(100, []), head(103, [(b"link", b"x")])]),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    rounds=st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_law_12_an_answer_is_the_same_however_it_is_cut(
    pieces: list[bytes],
    form: Callable[[list[bytes]], bytes],
    hint: bytes,
    cuts: list[int],
    rounds: int,
) -> None:
    """And a connection that has served one answer, serves another."""

    async def main() -> None:
        connection, wire = Connection(set()), Wire()
        connection.connection_made(wire)
        written = hint + form(pieces)
        for _ in range(rounds):
            asking = asyncio.create_task(connection.ask(b"q", bare=False))
            await asyncio.sleep(0)
            ends = sorted({min(cut, len(written)) for cut in cuts} | {0, len(written)})
            for start, end in pairwise(ends):
                connection.data_received(written[start:end])
            await asking
            assert connection.status == 200
            assert len(connection.headers) == (1 if form is chunked else 2)
            got = b""
            while data := await connection.read():
                got += data
            assert got == b"".join(pieces)
            assert connection.reusable
        assert (wire.asked, wire.cut) == (b"q" * rounds, False)

    asyncio.run(main())


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_what_nobody_asked_for_ends_the_connection(data: bytes) -> None:
    async def main() -> None:
        connection, wire = Connection(set()), Wire()
        connection.connection_made(wire)
        connection.data_received(data)
        # Empty lines between two answers are nothing.
        assert connection.reusable != wire.cut == bool(data.strip(b"\r\n"))

    asyncio.run(main())


def told(story: Story, reply: Reply) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(60),
            FakeEngine(reply) as engine,
            HttpUpstream(engine.url, 5.0) as upstream,
        ):
            await story(engine, upstream)

    asyncio.run(main())


async def whole(upstream: HttpUpstream, request: UpstreamRequest = POST) -> bytes:
    async with upstream.send(request) as got:
        return b"".join([piece async for piece in got.body])


def raw(data: bytes, then: Reply = hang) -> Reply:
    async def reply(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await then(seen, writer)

    return reply


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def story(_: FakeEngine, upstream: HttpUpstream) -> None:
        assert await whole(upstream) == b"all"

    told(story, raw(head(200, []) + b"all", die))


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        head(101, [(b"connection", b"upgrade"), (b"upgrade", b"x")]),
        head(200, [(b"content-length", b"9")]) + b"short",
        head(200, [(b"transfer-encoding", b"chunked")]) + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-",
    ],
    ids=["no HTTP", "upgrade", "short", "no chunk", "half a head"],
)
def test_what_is_no_answer_or_half_of_one_is_an_error(data: bytes) -> None:
    async def story(_: FakeEngine, upstream: HttpUpstream) -> None:
        with pytest.raises(UpstreamError):
            await whole(upstream)

    told(story, raw(data, die))


def test_an_answer_to_head_has_no_body() -> None:
    async def story(_: FakeEngine, upstream: HttpUpstream) -> None:
        assert await whole(upstream, UpstreamRequest("HEAD", "/x")) == b""

    told(story, raw(head(200, [(b"content-length", b"100")])))


def test_leaving_within_an_answer_is_felt_by_the_engine() -> None:
    async def story(engine: FakeEngine, upstream: HttpUpstream) -> None:
        async with upstream.send(POST) as got:
            assert await anext(got.body) == b"one"
        assert [piece async for piece in got.body] == []
        await engine.gone.acquire()

    told(story, stream([b"one"], then=hang))


def test_a_slow_reader_slows_the_engine_down() -> None:
    async def main() -> None:
        connection, wire = Connection(set()), Wire()
        connection.connection_made(wire)
        asking = asyncio.create_task(connection.ask(b"q", bare=False))
        await asyncio.sleep(0)
        connection.data_received(head(200, [(b"content-length", b"%d" % BIG)]))
        await asking
        came = 0
        while not wire.paused:
            connection.data_received(b"x" * 65536)
            came += 65536
        assert came < BIG
        assert await connection.read() == b"x" * came
        assert not wire.paused

    asyncio.run(main())


def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_upstream, "_KEEP_ALIVE_S", 1e-3)

    async def story(_: FakeEngine, upstream: HttpUpstream) -> None:
        await asyncio.gather(*(whole(upstream) for _ in range(3)))
        while upstream._open:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)

    told(story, answer())


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
def test_only_a_get_is_asked_again_where_the_engine_has_just_closed(
    request_: UpstreamRequest,
) -> None:
    """The engine answers once, and ends the connection when it is asked again."""

    async def story(engine: FakeEngine, upstream: HttpUpstream) -> None:
        assert await whole(upstream, request_) == b"{}"
        engine.reply = once
        if request_ is GET:
            assert await whole(upstream, request_) == b"new"
        else:
            with pytest.raises(UpstreamError, match="closed"):
                await whole(upstream, request_)
        assert len(engine.seen) == (3 if request_ is GET else 2)

    async def once(seen: Seen, writer: asyncio.StreamWriter) -> None:
        calls.append(seen)
        await (die if len(calls) == 1 else answer(b"new"))(seen, writer)

    calls: list[Seen] = []
    told(story, answer())


def test_nobody_there_and_closed_are_errors() -> None:
    async def main() -> None:
        upstream = HttpUpstream("http://127.0.0.1:9", 5.0)
        with pytest.raises(UpstreamError, match="closed"):
            await whole(upstream)
        async with upstream:
            with pytest.raises(UpstreamError):
                await whole(upstream)

    asyncio.run(main())
