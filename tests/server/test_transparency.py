"""Law 12: the proxy is byte-transparent."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched.core.tags import to_xargs
from tests.server.fake_engine import FakeEngine, answer, stream
from tests.server.front_end import TAGGER, in_thread

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.text().filter(lambda key: key not in ("vllm_xargs", "service_tier")), JSON, max_size=4
)
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)
# Fields of one connection are the server's own; the others are the engine's.
OWN = {
    "transfer-encoding", "connection", "keep-alive", "x-slosched-class", "server-timing",
    "x-request-id",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeEngine, str]]:
    with in_thread() as pair:
        yield pair


@given(fields=FIELDS, before=SPACE, after=SPACE, indent=st.booleans())
@settings(max_examples=100, deadline=None)
def test_law_12_the_engine_gets_the_clients_bytes_and_the_tag(
    server: tuple[FakeEngine, str],
    fields: dict[str, object],
    before: bytes,
    after: bytes,
    indent: bool,
) -> None:
    engine, url = server
    engine.reply = answer()
    text = orjson.dumps(fields, option=orjson.OPT_INDENT_2 if indent else None)
    _post(url, before + text + after)
    tag = b'"vllm_xargs":%b' % orjson.dumps(to_xargs(TAGGER.read([]), in_full=True))
    tag += b"," if fields else b""
    assert engine.seen[-1].body == before + b"{" + tag + text[1:] + after


@given(
    chunks=st.lists(st.binary(max_size=300), max_size=6),
    status=st.sampled_from([200, 201, 400, 404, 422, 429, 500, 503]),
    streamed=st.booleans(),
    kind=st.sampled_from([b"text/event-stream", b"application/json", b"application/x-thing"]),
    encoding=st.sampled_from([None, b"gzip", b"br", b"identity"]),
)
@settings(max_examples=150, deadline=None)
def test_law_12_the_client_gets_the_engines_bytes(
    server: tuple[FakeEngine, str],
    chunks: list[bytes],
    status: int,
    streamed: bool,
    kind: bytes,
    encoding: bytes | None,
) -> None:
    engine, url = server
    headers = [(b"content-type", kind), (b"x-a", b"1"), (b"x-a", b"2"), (b"date", b"never")]
    if encoding:
        headers.append((b"content-encoding", encoding))
    if streamed:
        engine.reply, status = stream(chunks, headers), 200
    else:
        engine.reply = answer(b"".join(chunks), status, headers)
    response, body = _post(url, b"{}")
    assert (response.status, body) == (status, b"".join(chunks))
    got = [(k.lower(), v) for k, v in response.getheaders() if k.lower() not in OWN]
    sent = [(k.decode(), v.decode()) for k, v in headers]
    assert got == sent if streamed else got == [*sent, ("content-length", str(len(body)))]


def test_end_to_end_headers_and_the_query_reach_the_engine(
    server: tuple[FakeEngine, str],
) -> None:
    engine, url = server
    engine.reply = answer()
    own = {
        "Authorization": "Bearer k",
        "X-Request-Id": "r-1",
        "Accept-Encoding": "zstd",
        "Connection": "x-hop",
        "X-Hop": "1",
        "X-Utf": "ä".encode().decode("latin-1"),
    }
    _post(url, b"{}", "/v1/chat/completions?a=%20b&c", own)
    seen = engine.seen[-1]
    assert seen.target == "/v1/chat/completions?a=%20b&c"
    names = {name.lower() for name, _ in seen.headers}
    assert names == {
        b"host",
        b"content-length",
        b"authorization",
        b"x-request-id",
        b"accept-encoding",
        b"x-utf",
    }
    assert seen.header(b"accept-encoding") == b"zstd"
    assert seen.header(b"x-utf") == "ä".encode()
    assert seen.header(b"host") == urlsplit(engine.url).netloc.encode()


def _post(
    url: str, body: bytes, target: str = "/v1/completions", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.putrequest("POST", target, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()
