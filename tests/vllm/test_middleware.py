"""The ASGI middleware: tags in, 400 for junk (law 11), everything else as it came."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from slosched.core.slo import Slo, SloClass
from slosched.core.tags import Tagger
from slosched.vllm.middleware import PATHS, Message, SloMiddleware

CLASSES = {
    "interactive": SloClass("interactive", Slo(ttft=1.0)),
    "batch": SloClass("batch", Slo(e2e=30.0), service_tier="flex"),
}


class Recorder:
    """An application that notes what reaches it and answers in two pieces."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.received: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "http.disconnect":
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    @property
    def body(self) -> Any:
        return json.loads(self.received[0]["body"])


def call(
    body: object,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    path: str = PATHS[0],
    root_path: str = "",
    method: str = "POST",
) -> tuple[Recorder, list[Message]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    half = len(raw) // 2
    incoming: list[Message] = [
        {"type": "http.request", "body": raw[:half], "more_body": True},
        {"type": "http.request", "body": raw[half:], "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    app = Recorder()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "headers": [(b"content-length", str(len(raw)).encode()), *headers],
    }
    asyncio.run(SloMiddleware(app, Tagger(CLASSES, "interactive"))(scope, receive, send))
    return app, sent


@pytest.mark.parametrize("path", PATHS)
def test_header_becomes_xargs(path: str) -> None:
    headers = [(b"x-slo-class", b"batch"), (b"x-slo-ttft-ms", b"250")]
    app, sent = call({"prompt": "é\ud800", "n": 1.50}, headers, path=path)
    assert app.body == {
        "prompt": "é\ud800",
        "n": 1.5,
        "vllm_xargs": {"slosched_class": "batch", "slosched_ttft_ms": 250},
    }
    length = dict(app.scope["headers"])[b"content-length"]
    assert int(length) == len(app.received[0]["body"])
    assert (b"x-slosched-class", b"batch") in sent[0]["headers"]
    assert (b"a", b"b") in sent[0]["headers"]


def test_answer_passes_unchanged_and_disconnect_is_seen() -> None:
    app, sent = call({})
    assert [m["type"] for m in app.received] == ["http.request", "http.disconnect"]
    assert [m.get("body") for m in sent] == [None, b"one ", b"two"]


def test_service_tier_selects_a_class() -> None:
    app, _ = call({"service_tier": "flex"})
    assert app.body["vllm_xargs"] == {"slosched_class": "batch"}


def test_other_xargs_stay() -> None:
    app, _ = call({"vllm_xargs": {"x": 1}}, [(b"X-SLO-Class", b"batch")])
    assert app.body["vllm_xargs"] == {"x": 1, "slosched_class": "batch"}


def test_tag_of_the_front_end_stays() -> None:
    body = b'{"vllm_xargs":  {"slosched_class": "batch", "slosched_e2e_ms": 9}}'
    app, sent = call(body)
    assert app.received[0]["body"] == body
    assert (b"x-slosched-class", b"batch") in sent[0]["headers"]


def test_what_the_front_end_wrote_wins_over_headers() -> None:
    """It has read them, and may have made the request one of another class, or not heeded them."""
    body = {"vllm_xargs": {"slosched_class": "batch"}}
    headers = [(b"x-slo-class", b"interactive"), (b"x-slo-ttft-ms", b"1")]
    app, sent = call(body, headers)
    assert app.body == body
    assert (b"x-slosched-class", b"batch") in sent[0]["headers"]


JUNK = [
    ({}, [(b"x-slo-class", b"batsch")], "x-slo-class"),
    ({}, [(b"x-slo-ttft-ms", b"-5")], "x-slo-ttft-ms"),
    ({}, [(b"x-slo-ttft-ms", b"\xff")], "x-slo-ttft-ms"),
    ({}, [(b"x-slo-class", b"batch"), (b"x-slo-class", b"interactive")], "x-slo-class"),
    ({"service_tier": "gold"}, [], "service_tier"),
    ({"vllm_xargs": {"slosched_class": "nobody"}}, [], "slosched_class"),
    ({"vllm_xargs": {"slosched_ttft_ms": 0.5}}, [], "slosched_ttft_ms"),
    ({"vllm_xargs": {"slosched_turbo": 1}}, [], "vllm_xargs.slosched_turbo"),
    (b"no json", [(b"x-slo-class", b"nobody")], "x-slo-class"),
]


@pytest.mark.parametrize(("body", "headers", "param"), JUNK)
def test_junk_is_a_400_that_names_it(
    body: object, headers: list[tuple[bytes, bytes]], param: str
) -> None:
    """Law 11, on everything that is ours to read."""
    app, sent = call(body, headers)
    assert app.scope is None
    assert sent[0]["status"] == 400
    error = json.loads(sent[1]["body"])["error"]
    assert error["param"] == param
    assert error["message"].startswith(param)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"no json", b"[1]", b'{"vllm_xargs": 3}', b'{"vllm_xargs": [1]}'])
def test_what_it_cannot_tag_is_vllms_to_refuse(body: bytes) -> None:
    app, _ = call(body)
    assert app.received[0]["body"] == body


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATHS[0]), ("POST", "/v1/embeddings"), ("POST", "/tokenize")]
)
def test_other_calls_pass_untouched(method: str, path: str) -> None:
    app, sent = call(b"{ }", [(b"x-slo-class", b"junk")], method=method, path=path)
    assert b"".join(m.get("body", b"") for m in app.received) == b"{ }"
    assert sent[0]["headers"] == [(b"a", b"b")]


def test_path_below_a_root_path() -> None:
    app, _ = call({}, root_path="/llm", path="/llm" + PATHS[0])
    assert app.body["vllm_xargs"] == {"slosched_class": "interactive"}


def test_client_that_leaves_early_reaches_nobody() -> None:
    app = Recorder()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": PATHS[0], "headers": []}
    asyncio.run(SloMiddleware(app, Tagger(CLASSES, "batch"))(scope, receive, receive))  # type: ignore[arg-type]
    assert app.scope is None
