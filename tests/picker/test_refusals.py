"""What a client hears whom no engine answers, by status; and as what it is served instead."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS
from slosched_server.picker.ext_proc_pb2 import (
    BUFFERED_PARTIAL,
    NONE,
    STREAMED,
    BodySendMode,
)
from tests.picker.desks import ONE, desk
from tests.picker.fake_envoy import (
    Fields,
    Refused,
    answer_head,
    answer_headers,
    asking,
    body,
    head,
)
from tests.server.guarded import Files
from tests.strategies import tag_headers

NAMES = [*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS]
FULL = ("fleet.max_waiting=1",)


async def refused(headers: Fields = (), content: bytes = b"{}", *overrides: str) -> Refused:
    async with desk(*overrides) as picker:
        async with asking(picker.desk, head(headers), body(content)) as envoy:
            said = await envoy.refused()
        assert picker.empty
        return said


@pytest.mark.parametrize(
    ("headers", "content", "param"),
    [
        ([(b"x-slo-class", b"gold")], b"{}", "x-slo-class"),
        ([(b"x-gateway-inference-objective", b"gold")], b"{}", "x-gateway-inference-objective"),
        ([(b"x-slo-ttft-ms", b"1.5")], b"{}", "x-slo-ttft-ms"),
        ([(b"x-llm-d-slo-tpot-ms", b"-1")], b"{}", "x-llm-d-slo-tpot-ms"),
        ([], b'{"vllm_xargs":1}', "vllm_xargs"),
        ([], b'{"vllm_xargs":{"slosched_class":"batch"}}', "vllm_xargs.slosched_class"),
        ([], b"", None),
        ([], b"[]", None),
        ([], b"{", None),
        ([], b'{"a":1}{', None),
        ([], b"\xff", None),
    ],
)
def test_what_cannot_be_understood_is_a_400(
    headers: Fields, content: bytes, param: str | None
) -> None:
    said = asyncio.run(refused([*headers, (b"x-request-id", b"q")], content))
    assert said.status == 400
    assert said.headers["content-type"] == b"application/json"
    assert said.headers["x-request-id"] == b"q"
    assert said.error["type"] == "invalid_request_error"
    assert said.error["param"] == param
    assert said.error["message"]


def test_a_request_without_a_body_is_a_400() -> None:
    async def main() -> None:
        async with desk() as picker, asking(picker.desk, head(ended=True)) as envoy:
            assert (await envoy.refused()).status == 400

    asyncio.run(main())


def test_a_body_that_is_too_large_is_a_413_before_its_end() -> None:
    async def main() -> None:
        async with desk("server.max_body_bytes=1000") as picker:
            asks = head(), body(bytes(600), last=False), body(bytes(600), last=False)
            async with asking(picker.desk, *asks) as envoy:
                said = await envoy.refused()
            assert (said.status, said.error["code"]) == (413, "body_too_large")
            assert picker.empty

    asyncio.run(main())


@given(headers=st.lists(tag_headers, min_size=1, max_size=12))
def test_law_11_through_the_picker(headers: list[Fields]) -> None:
    async def main() -> None:
        async with desk() as picker:
            for these in headers:
                async with asking(picker.desk, head(these), body()) as envoy:
                    sent = await envoy.answered()
                    if isinstance(sent, Refused):
                        assert sent.status == 400
                        assert sent.error["param"] in NAMES
                        continue
                    envoy.say(answer_head(ended=True))
                    answered = answer_headers(await envoy.hears("response_headers"))
                    assert sent.xargs["slosched_class"] == answered["x-slosched-class"].decode()
                    for name, value in these:
                        if name.decode() in CLASS_HEADERS:
                            assert value.strip(b" \t").decode() == sent.xargs["slosched_class"]
                        if limit := TARGET_HEADERS.get(name.decode()):
                            assert sent.xargs[f"slosched_{limit}_ms"] == int(value)
            assert picker.empty

    asyncio.run(main())


def test_a_queue_that_is_full_is_a_429_that_says_when_to_come_again() -> None:
    async def main() -> None:
        async with desk(*FULL, urls=[ONE], slots=1) as picker:
            asks = head(), body(b'{"max_tokens":5}')
            async with asking(picker.desk, *asks) as first:
                await first.sent()
                async with asking(picker.desk, *asks) as second:
                    await picker.until_waiting(1)
                    async with asking(picker.desk, *asks) as third:
                        said = await third.refused()
                    assert (said.status, said.error["code"]) == (429, "overloaded")
                    assert said.error["type"] == "rate_limit_error"
                    assert int(said.headers["retry-after"]) >= 1
                    assert said.headers["x-slosched-class"] == b"interactive"
                    first.say(answer_head(ended=True))
                    await second.sent()
                    second.say(answer_head(ended=True))
            assert picker.told.outcomes == ["finished", "finished", "shed"]
            assert picker.empty

    asyncio.run(main())


def test_who_would_be_late_is_served_as_another_class_and_told() -> None:
    async def main() -> None:
        downgrade = (
            "classes.interactive.overload=downgrade", "classes.interactive.downgrade_to=batch",
            "classes.interactive.ttft_ms=100",
        )  # fmt: skip
        async with desk(*downgrade, urls=[ONE], slots=1) as picker:
            async with asking(picker.desk, head(), body(b'{"max_tokens":5}')) as first:
                await first.sent()
                async with asking(picker.desk, head(), body()) as late:
                    # Beyond its limit, it has become one of the other class.
                    await picker.until(
                        lambda: bool(picker.told.jobs[1:] and picker.told.jobs[1].asked)
                    )
                    first.say(answer_head(ended=True))
                    assert (await late.sent()).xargs["slosched_class"] == "batch"
                    late.say(answer_head(ended=True))
                    headers = answer_headers(await late.hears("response_headers"))
                    assert headers["x-slosched-class"] == b"batch"
                    assert headers["x-slosched-downgraded-from"] == b"interactive"
            assert picker.empty

    asyncio.run(main())


@pytest.mark.parametrize("mode", [NONE, STREAMED, BUFFERED_PARTIAL])
def test_a_gateway_that_sends_no_whole_bodies_is_told_so(mode: BodySendMode) -> None:
    async def main() -> None:
        async with desk() as picker, asking(picker.desk, head(mode=mode)) as envoy:
            said = await envoy.refused()
            assert (said.status, said.error["code"]) == (500, "gateway_misconfigured")
            assert BodySendMode.Name(mode) in said.error["message"]

    asyncio.run(main())


KEYED = """
classes: {interactive: {ttft_ms: 1000}, batch: {e2e_ms: 30000}}
access: {keys: keys.yaml, engine_key_env: ENGINE_KEY}
"""


def test_who_has_no_key_is_refused_and_the_engine_sees_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "engine-secret")
    files = Files(tmp_path, KEYED)
    key = files.give("chat", classes=["interactive"])

    async def main() -> None:
        async with desk(config=files.config) as picker:
            for target in ("/v1/completions", "/v1/models"):
                async with asking(picker.desk, head(target=target), body()) as envoy:
                    said = await envoy.refused()
                    assert (said.status, said.error["type"]) == (401, "invalid_request_error")
            ours = (b"authorization", f"Bearer {key}".encode())
            theirs = b"Bearer engine-secret"
            asks = head([ours, (b"x-slo-class", b"interactive")]), body()
            async with asking(picker.desk, *asks) as envoy:
                sent = await envoy.sent()
                assert sent.headers["authorization"] == theirs
                assert "x-slo-class" in sent.without
                envoy.say(answer_head(ended=True))
            async with asking(
                picker.desk, head([ours], target="/v1/models", method="GET", ended=True)
            ) as envoy:
                assert (await envoy.sent_unread()).headers == {"authorization": theirs}
                envoy.say(answer_head(ended=True))
            async with asking(
                picker.desk, head([ours, (b"x-slo-class", b"batch")]), body()
            ) as envoy:
                said = await envoy.refused()
                assert (said.status, said.error["param"]) == (403, "x-slo-class")
            assert picker.empty

    asyncio.run(main())


def test_refusals_are_counted() -> None:
    async def main() -> None:
        async with desk() as picker:
            async with asking(picker.desk, head([(b"x-slo-class", b"gold")]), body()) as envoy:
                await envoy.refused()
            counted = picker.registry.get_sample_value(
                "slosched_requests_total", {"slo_class": "unknown", "outcome": "rejected"}
            )
            assert counted == 1

    asyncio.run(main())
