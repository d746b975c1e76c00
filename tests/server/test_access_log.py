"""A line for each request, where it is asked for; none of them says what was asked or answered."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import structlog

from tests.server.fake_engine import FakeEngine, answer, stream
from tests.server.fleet import COMPLETIONS, fleet

SECRET = "what nobody is to read"  # noqa: S105
EVENTS = [
    b'data: {"choices":[{"text":"%b"}]}\n\n' % SECRET.encode(),
    b'data: {"choices":[{"text":"b"}],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]
Line = dict[str, Any]


async def posted(client: aiohttp.ClientSession, name: str, body: object, **headers: str) -> None:
    sent = {"x-request-id": name, "authorization": f"Bearer {SECRET}", **headers}
    async with client.post(COMPLETIONS, json=body, headers=sent) as got:
        await got.read()


def lines(*overrides: str) -> Sequence[Line]:
    """Ask for something good, for something bad, and of an engine that fails."""

    async def main() -> None:
        async with FakeEngine(stream(EVENTS)) as engine, fleet([engine.url], *overrides) as client:
            body = {"prompt": SECRET, "stream": True, "max_tokens": 9}
            tenant = {"x-gateway-inference-fairness-id": "us", "x-slo-class": "batch"}
            await posted(client, "good", body, **tenant)
            await posted(client, "bad", body, **{"x-slo-class": SECRET})
            engine.reply = answer(SECRET.encode(), 500)
            await posted(client, "fails", {"prompt": SECRET})

    with structlog.testing.capture_logs() as caught:
        asyncio.run(main())
    return [dict(line) for line in caught]


def test_one_line_a_request() -> None:
    said = {line["request_id"]: line for line in lines("server.access_log=true")}
    good = said["good"]
    times = {name: good.pop(name) for name in ("queue_ms", "ttft_ms", "tpot_ms", "e2e_ms")}
    assert good == {
        "event": "request", "log_level": "info", "request_id": "good", "slo_class": "batch",
        "asked_class": "batch", "tenant": "us", "outcome": "finished", "status": 200,
        "replica": "r0", "attempts": 1, "input_tokens": 5, "output_tokens": 2,
    }  # fmt: skip
    assert 0 <= times["queue_ms"] <= times["ttft_ms"] <= times["e2e_ms"]
    assert times["tpot_ms"] >= 0
    assert (said["bad"]["outcome"], said["bad"]["status"]) == ("rejected", 400)
    assert (said["fails"]["outcome"], said["fails"]["status"]) == ("failed", 500)
    assert said["fails"]["ttft_ms"] is None


def test_no_line_has_what_was_said_or_a_key() -> None:
    assert SECRET not in repr(lines("server.access_log=true"))


def test_by_default_there_are_none() -> None:
    assert not [line for line in lines() if line["event"] == "request"]
