"""Law 11: any header junk gives a 400 or a valid class, never a silent default."""

import http.client
import socket
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings

from slosched.core.errors import TagError
from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS
from slosched_server.errors import ApiError
from slosched_server.headers import tag_request
from tests.server.fake_engine import FakeEngine
from tests.server.front_end import TAGGER, in_thread
from tests.strategies import tag_headers

NAMES = [*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeEngine, str]]:
    with in_thread() as pair:
        yield pair


@given(headers=tag_headers)
@settings(max_examples=150, deadline=None)
def test_law_11_over_http(
    server: tuple[FakeEngine, str], headers: list[tuple[bytes, bytes]]
) -> None:
    engine, url = server
    before = len(engine.seen)
    status, answered, body = _raw_post(url, headers)
    if status == 400:
        assert len(engine.seen) == before
        # The HTTP parser's own refusals, of bytes that no header may have, are plain text.
        assert b"Invalid HTTP request" in body or orjson.loads(body)["error"]["param"] in NAMES
        return
    assert status == 200
    xargs = orjson.loads(engine.seen[-1].body)["vllm_xargs"]
    assert xargs["slosched_class"] == answered["x-slosched-class"]
    said = {
        value.strip(b" \t").decode() for name, value in headers if name.decode() in CLASS_HEADERS
    }
    assert said <= {xargs["slosched_class"]}
    for name, value in headers:
        if limit := TARGET_HEADERS.get(name.decode()):
            assert xargs[f"slosched_{limit}_ms"] == int(value)


def _raw_post(
    url: str, headers: list[tuple[bytes, bytes]]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Post `{}` with these bytes for headers, which no HTTP client would write."""
    host, port = url.removeprefix("http://").split(":")
    lines = [b"POST /v1/completions HTTP/1.1", b"host: x", b"content-length: 2"]
    lines += [b"%b: %b" % pair for pair in headers]
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n{}")
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.headers, response.read()


@pytest.mark.parametrize(
    ("header", "value", "hint"),
    [
        ("x-slo-class", "interactiv", "did you mean interactive?"),
        ("x-gateway-inference-objective", "gold", "known: interactive, batch"),
        ("x-slo-ttft-ms", "1.5", "whole milliseconds"),
        ("x-slo-e2e-ms", "-1", "whole milliseconds"),
        ("x-gateway-inference-fairness-id", "a b", "letters"),
    ],
)
def test_a_refusal_names_the_header(header: str, value: str, hint: str) -> None:
    with pytest.raises(TagError, match=header) as caught:
        tag_request(TAGGER, [(header.encode(), value.encode())], b"{}")
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{", b"null", b'{"a":NaN}', b"\xff", b"[" * 2000]
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="the body") as caught:
        tag_request(TAGGER, [], body)
    assert caught.value.status == 400


@pytest.mark.parametrize("tier", ["gold", 3, [], {}, True])
def test_an_unknown_service_tier_is_refused(tier: object) -> None:
    with pytest.raises(TagError, match="service_tier"):
        tag_request(TAGGER, [], orjson.dumps({"service_tier": tier}))


def test_service_tier_selects_a_class_and_a_header_wins_over_it() -> None:
    body = b'{"service_tier":"flex"}'
    assert tag_request(TAGGER, [], body).tag.slo_class == "batch"
    header = (b"x-slo-class", b"interactive")
    assert tag_request(TAGGER, [header], body).tag.slo_class == "interactive"


def test_a_clients_own_xargs_stay() -> None:
    tagged = tag_request(TAGGER, [(b"x-slo-e2e-ms", b"70")], b'{"vllm_xargs":{"a":1},"n":2}')
    xargs = {"a": 1, "slosched_class": "interactive", "slosched_e2e_ms": 70, "slosched_weight": 2.0}
    assert orjson.loads(tagged.write(tagged.tag)) == {"n": 2, "vllm_xargs": xargs}
    none = tag_request(TAGGER, [], b'{"vllm_xargs":null}')
    assert b"slosched_class" in none.write(none.tag)


@pytest.mark.parametrize(
    "body",
    [
        b'{"vllm_xargs":{"slosched_class":"batch"}}',
        b'{"vllm_\\u0078args":{"slosched_ttft_ms":1}}',
        b'{"vllm_xargs":[1]}',
        b'{"vllm_xargs":{},"vllm_xargs":{"slosched_class":"batch"}}',
    ],
)
def test_xargs_are_no_way_around_the_headers(body: bytes) -> None:
    with pytest.raises(ApiError, match="vllm_xargs") as caught:
        tag_request(TAGGER, [], body)
    assert caught.value.status == 400


def test_of_two_xargs_the_engine_sees_one() -> None:
    body = b'{"vllm_xargs":{"slosched_class":"batch"},"vllm_xargs":{}}'
    tagged = tag_request(TAGGER, [], body)
    assert tagged.write(tagged.tag).count(b"vllm_xargs") == 1
