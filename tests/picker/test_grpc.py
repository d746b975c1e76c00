"""The gRPC server, asked by grpcio's own client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.listen import listen
from slosched_server.picker.call import Call, CallError, Status
from slosched_server.picker.grpc_connection import GrpcConnection, Method
from slosched_server.picker.grpc_server import GrpcServer
from slosched_server.picker.health import EXTERNAL_PROCESSOR, Health
from slosched_server.picker.health_pb2 import NOT_SERVING, SERVING, HealthCheckResponse
from slosched_server.picker.service import health_methods
from tests.picker.relay import relay

ECHO = "/test/Echo"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
MOST = 4 << 20
UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def echo(call: Call) -> None:
    while (message := await call.read()) is not None:
        await call.write(message)


@asynccontextmanager
async def served(
    methods: Mapping[bytes, Method], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve methods; gives the port."""
    server, listener = GrpcServer(methods, MOST), listen("127.0.0.1", 0)
    await server.start(listener, tls)
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def channel(port: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNBOUNDED) as opened:
        yield opened


async def said(call: Any) -> list[bytes]:
    return [message async for message in call]


async def several(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 3_000_000])
def test_messages_of_any_size_come_and_go(size: int) -> None:
    """Larger ones than the windows of HTTP/2, which both sides have to open."""

    async def main() -> None:
        async with served({ECHO.encode(): echo}) as port, channel(port) as opened:
            sent = [bytes([i]) * size for i in range(4)]
            assert await said(opened.stream_stream(ECHO)(several(*sent))) == sent

    asyncio.run(main())


def test_many_calls_at_a_time() -> None:
    async def main() -> None:
        async with served({ECHO.encode(): echo}) as port, channel(port) as opened:

            async def ask(number: int) -> None:
                sent = [b"%d.%d" % (number, i) for i in range(5)]
                assert await said(opened.stream_stream(ECHO)(several(*sent))) == sent

            await asyncio.gather(*(ask(number) for number in range(500)))

    asyncio.run(main())


def test_answers_to_many_leave_some_at_a_time() -> None:
    """A client that is sent all of them at once has nothing to do until then."""
    parts: list[bytes] = []

    async def main() -> None:
        transport = Mock(spec=asyncio.Transport, write=parts.append)
        connection = GrpcConnection({ECHO.encode(): echo}, MOST, set())
        connection.connection_made(transport)
        for stream in range(1, 41, 2):
            client.send_headers(stream, [(":method", "POST"), (":path", ECHO)])
            client.send_data(stream, bytes(5))
        connection.data_received(client.data_to_send())
        await asyncio.sleep(0.1)

    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    client.initiate_connection()
    asyncio.run(main())
    answers = [sum(isinstance(one, DataReceived) for one in client.receive_data(p)) for p in parts]
    assert sum(answers) == 20
    assert max(answers) == 8


def test_what_nobody_reads_any_more_is_not_waited_for() -> None:
    """Written to a call that was given up while the client took no more."""

    async def main() -> None:
        ended = asyncio.Event()

        async def late(call: Call) -> None:
            await call.write(b"begun")
            assert await call.read() is None
            await call.write(b"too late")
            ended.set()

        connection = GrpcConnection({ECHO.encode(): late}, MOST, set())
        connection.connection_made(Mock(spec=asyncio.Transport))
        client = H2Connection(H2Configuration(validate_outbound_headers=False))
        client.initiate_connection()
        client.send_headers(1, [(":method", "POST"), (":path", ECHO)])
        connection.data_received(client.data_to_send())
        await asyncio.sleep(0)
        connection.pause_writing()
        client.reset_stream(1)
        connection.data_received(client.data_to_send())
        await asyncio.wait_for(ended.wait(), 5)

    asyncio.run(main())


def test_whoever_gives_up_is_served_no_more() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def hold(call: Call) -> None:
            await call.write(b"begun")
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with served({ECHO.encode(): hold}) as port, channel(port) as opened:
            call = opened.stream_stream(ECHO)(several(b"x"))
            assert await call.read() == b"begun"
            call.cancel()
            await asyncio.wait_for(ended.wait(), 10)
        ended.clear()
        async with served({ECHO.encode(): hold}) as port:
            async with channel(port) as opened:
                call = opened.stream_stream(ECHO)(several(b"x"))
                assert await call.read() == b"begun"
            await asyncio.wait_for(ended.wait(), 10)  # the connection is gone

    asyncio.run(main())


def test_a_client_that_does_not_read_is_waited_for() -> None:
    async def main() -> None:
        written = 0

        async def much(call: Call) -> None:
            nonlocal written
            for _ in range(200):
                await call.write(bytes(1 << 20))
                written += 1

        async with served({ECHO.encode(): much}) as port, channel(port) as opened:
            call = opened.stream_stream(ECHO)(several(b"x"))
            await call.read()
            await asyncio.sleep(0.5)
            assert written < 150
            assert all([len(await call.read()) == 1 << 20 for _ in range(199)])

    asyncio.run(main())


def test_calls_that_fail_say_how_and_leave_the_others_alone() -> None:
    async def fail(_: Call) -> None:
        raise RuntimeError("on purpose")

    async def refuse(call: Call) -> None:
        await call.write(b"first")
        raise CallError(Status.RESOURCE_EXHAUSTED, "no more, 100%")

    methods = {b"/test/Fail": fail, b"/test/Refuse": refuse, ECHO.encode(): echo}

    async def main() -> None:
        async with served(methods) as port, channel(port) as opened:

            async def status(path: str, *messages: bytes) -> tuple[grpc.StatusCode, str | None]:
                call = opened.stream_stream(path)(several(*messages))
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await said(call)
                return caught.value.code(), caught.value.details()

            going = opened.stream_stream(ECHO)()
            await going.write(b"before")
            assert await going.read() == b"before"
            codes = grpc.StatusCode
            assert await status("/test/Fail") == (codes.INTERNAL, "internal error")
            refused = (codes.RESOURCE_EXHAUSTED, "no more, 100%")
            assert await status("/test/Refuse", b"x") == refused
            assert (await status("/test/None"))[0] == codes.UNIMPLEMENTED
            large = await status(ECHO, bytes(MOST + 70_000))
            assert large[0] == codes.RESOURCE_EXHAUSTED
            await going.write(b"after")
            assert await going.read() == b"after"
            await going.done_writing()

    asyncio.run(main())


def test_who_is_sent_away_ends_what_it_has_begun_and_calls_elsewhere() -> None:
    async def main() -> None:
        async def away(call: Call) -> None:
            await call.read()
            call.send_away()
            call.send_away()
            await call.write(b"")

        methods = {b"/test/Away": away, ECHO.encode(): echo}
        async with served(methods) as one, served(methods) as two, relay(one, two) as way:
            async with channel(way.port) as opened:
                going = opened.stream_stream(ECHO)()
                await going.write(b"before")
                assert await going.read() == b"before"
                assert await said(opened.stream_stream("/test/Away")(several(b"x"))) == [b""]
                assert await said(opened.stream_stream(ECHO)(several(b"x"))) == [b"x"]
                await going.write(b"after")
                assert await going.read() == b"after"
                await going.done_writing()
                assert not await going.read()
            assert way.led == [one, two]

    asyncio.run(main())


def test_packed_messages_are_refused_as_they_are_not_understood() -> None:
    async def main() -> None:
        async with (
            served({ECHO.encode(): echo}) as port,
            grpc.aio.insecure_channel(
                f"127.0.0.1:{port}", compression=grpc.Compression.Gzip
            ) as opened,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await said(opened.stream_stream(ECHO, None, None)(several(b"x" * 1000)))
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(main())


@given(st.binary(max_size=200), st.booleans())
def test_whoever_speaks_something_else_is_hung_up_on(garbage: bytes, preface: bool) -> None:
    async def main() -> None:
        async with served({ECHO.encode(): echo}) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if preface else b"GET / HTTP/1.1\r\n\r\n"
            writer.write(start + garbage)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
            async with channel(port) as opened:
                assert await said(opened.stream_stream(ECHO)(several(b"x"))) == [b"x"]

    asyncio.run(main())


def test_tls() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    async def main() -> None:
        async with (
            served({ECHO.encode(): echo}, context) as port,
            grpc.aio.secure_channel(f"localhost:{port}", trust) as opened,
        ):
            assert await said(opened.stream_stream(ECHO, None, None)(several(b"x"))) == [b"x"]

    asyncio.run(main())


def test_health_of_an_active_picker_and_of_a_standby() -> None:
    async def main() -> None:
        health = Health()
        async with served(health_methods(health)) as port, channel(port) as opened:

            async def check(service: str) -> int:
                raw = await opened.unary_unary(CHECK)(_asked(service))
                return HealthCheckResponse.FromString(raw).status

            ours = ("", "readiness", EXTERNAL_PROCESSOR)
            assert {await check(name) for name in ours} == {NOT_SERVING}
            assert await check("liveness") == SERVING
            watched = opened.unary_stream(WATCH)(_asked("readiness"))
            heard = [HealthCheckResponse.FromString(await watched.read()).status]
            for ready in (True, False):
                health.set(ready=ready)
                heard.append(HealthCheckResponse.FromString(await watched.read()).status)
            assert heard == [NOT_SERVING, SERVING, NOT_SERVING]
            watched.cancel()
            health.set(ready=True)
            assert {await check(name) for name in ours} == {SERVING}
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check("nobody")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(main())


def _asked(service: str) -> bytes:
    """Write a HealthCheckRequest as any client does."""
    name = service.encode()
    return b"\x0a%c%b" % (len(name), name) if name else b""
