"""Clients that ask for another protocol, or for a tunnel, are served by HTTP/1.1, or refused."""

import socket
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from tests.server.fake_engine import FakeEngine
from tests.server.front_end import in_thread

BODY = b'{"prompt":"a"}'


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeEngine, str]]:
    with in_thread() as pair:
        yield pair


def ask(url: str, pieces: list[bytes]) -> HTTPResponse:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answer = HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer


def request(protocol: bytes, chunked: bool) -> bytes:
    head = (
        b"POST /v1/completions?a=1 HTTP/1.1\r\nhost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    )
    head += b"Upgrade: %b\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\nx-slo-class: batch\r\n" % protocol
    if chunked:
        return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    return head + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.mark.parametrize("step", [1, 50, 10_000])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"x"])
def test_who_asks_for_another_protocol_is_answered(
    server: tuple[FakeEngine, str], protocol: bytes, chunked: bool, step: int
) -> None:
    engine, url = server
    data = request(protocol, chunked)
    answer = ask(url, [data[at : at + step] for at in range(0, len(data), step)])
    assert (answer.status, answer.headers["x-slosched-class"]) == (200, "batch")
    seen = engine.seen[-1]
    assert (seen.target, seen.body.endswith(BODY[1:])) == ("/v1/completions?a=1", True)
    assert not {name.lower() for name, _ in seen.headers} & {b"upgrade", b"http2-settings"}


def test_a_connection_goes_on_after_it(server: tuple[FakeEngine, str]) -> None:
    _, url = server
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        for _ in range(3):
            connection.sendall(request(b"h2c", chunked=False))
            answer = HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.read()) == (200, b"{}")


@pytest.mark.parametrize("line", [b"CONNECT a:80 HTTP/1.1\r\nhost: a", b"HELLO", b"GET / HTTP/9.9"])
def test_what_is_no_request_is_refused(server: tuple[FakeEngine, str], line: bytes) -> None:
    assert ask(server[1], [line + b"\r\n\r\n"]).status == 400
