"""Law 12 through a real Envoy: neither it nor the picker changes a byte of what is said."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.picker.proxied import Proxied, in_thread
from tests.server.fake_engine import answer, stream
from tests.server.test_transparency import FIELDS, SPACE

_TAG = b'"vllm_xargs":'


@pytest.fixture(scope="module", params=[False, True], ids=["unseen", "shown"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    with in_thread(tmp_path_factory.mktemp("envoy"), shows_answers=request.param) as one:
        yield one


@given(fields=FIELDS, before=SPACE, after=SPACE)
@settings(max_examples=40, deadline=None)
def test_law_12_the_engine_gets_the_clients_bytes_and_the_tag(
    served: Proxied, fields: dict[str, object], before: bytes, after: bytes
) -> None:
    served.engine.reply = answer()
    text = orjson.dumps(fields)
    status, _, _ = _post(served.url, before + text + after)
    assert status == 200
    seen = served.asked[-1].body
    assert seen.startswith(before + b"{" + _TAG)
    tag = seen[len(before) + 1 + len(_TAG) :].partition(b"}")[0] + b"}"
    comma = b"," if fields else b""
    assert seen == before + b"{" + _TAG + tag + comma + text[1:] + after


@given(
    chunks=st.lists(st.binary(max_size=300), max_size=6),
    large=st.sampled_from([b"", bytes(200_000)]),
    status=st.sampled_from([200, 201, 400, 404, 422, 429, 500]),
    streamed=st.booleans(),
    kind=st.sampled_from([b"text/event-stream", b"application/json", b"application/x-thing"]),
)
@settings(max_examples=60, deadline=None)
def test_law_12_the_client_gets_the_engines_bytes(
    served: Proxied, chunks: list[bytes], large: bytes, status: int, streamed: bool, kind: bytes
) -> None:
    headers = [(b"content-type", kind), (b"x-a", b"1"), (b"x-a", b"2"), (b"server", b"uvicorn")]
    if streamed:
        served.engine.reply, status = stream([*chunks, large], headers), 200
    else:
        served.engine.reply = answer(b"".join([*chunks, large]), status, headers)
    got, names, body = _post(served.url, b"{}")
    assert (got, body) == (status, b"".join([*chunks, large]))
    assert names.get_all("x-a") == ["1", "2"]
    assert names["content-type"] == kind.decode()
    assert names["server"] == "uvicorn"


def _post(url: str, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", "/v1/completions", body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()
