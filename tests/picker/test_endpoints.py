"""Where requests may go: by the gateway's hint, by load where no plan is made, never by clients."""

import asyncio

import pytest

from slosched_server.picker.ext_proc_pb2 import BUFFERED, FULL_DUPLEX_STREAMED, NONE, BodySendMode
from tests.picker.desks import FakeProbes, desk
from tests.picker.fake_envoy import answer_head, answer_headers, asking, body, head

URLS = [f"http://10.0.0.{i}:8000" for i in range(1, 7)]


@pytest.mark.parametrize(
    ("hint", "eligible"),
    [
        (["10.0.0.2:8000"], {"10.0.0.2:8000"}),
        (["10.0.0.2:8000", "10.0.0.3:8000"], {"10.0.0.2:8000", "10.0.0.3:8000"}),
        ("10.0.0.3:8000", {"10.0.0.3:8000"}),
        ("10.0.0.3:8000, 10.0.0.5:8000,", {"10.0.0.3:8000", "10.0.0.5:8000"}),
        (["10.0.0.4:8000", "192.0.2.1:1"], {"10.0.0.4:8000"}),
    ],
)
@pytest.mark.parametrize("target", ["/v1/completions", "/v1/models"])
def test_a_subset_is_kept_to_and_so_are_fallbacks(
    hint: object, eligible: set[str], target: str
) -> None:
    async def main() -> None:
        async with desk(urls=URLS) as picker:
            for _ in range(4):
                asks = head(subset=hint, target=target), body()
                async with asking(picker.desk, *asks) as envoy:
                    sent = await envoy.sent_unread()
                    assert set(sent.endpoints) == eligible
                    assert len(sent.endpoints) == len(eligible)
                    envoy.say(answer_head(ended=True))
            assert picker.empty

    asyncio.run(main())


@pytest.mark.parametrize("hint", [["192.0.2.1:1"], [], "", "junk", [""]])
@pytest.mark.parametrize("target", ["/v1/completions", "/v1/models"])
def test_a_subset_of_nobody_is_a_503(hint: object, target: str) -> None:
    async def main() -> None:
        async with desk(urls=URLS) as picker:
            async with asking(picker.desk, head(subset=hint, target=target), body()) as envoy:
                said = await envoy.refused()
            assert (said.status, said.error["code"]) == (503, "no_endpoint")
            assert picker.empty

    asyncio.run(main())


def test_there_are_three_fallbacks_at_most_none_of_them_away() -> None:
    async def main() -> None:
        probes = FakeProbes({URLS[2]})
        async with desk(urls=URLS, connect=probes.connect) as picker:
            await picker.until_ready(len(URLS) - 1)
            async with asking(picker.desk, head(), body()) as envoy:
                sent = await envoy.sent()
                assert len(set(sent.endpoints)) == 4
                assert "10.0.0.3:8000" not in sent.endpoints
                envoy.say(answer_head(ended=True))

    asyncio.run(main())


def test_who_may_go_to_some_only_waits_for_those() -> None:
    async def main() -> None:
        async with desk(urls=URLS[:2], slots=1) as picker:
            asks = head(subset=["10.0.0.1:8000"]), body(b'{"max_tokens":5}')
            async with (
                asking(picker.desk, *asks) as first,
                asking(picker.desk, *asks) as second,
            ):
                await first.sent()
                await picker.until_waiting(1)
                async with asking(picker.desk, head(), body(b'{"max_tokens":5}')) as other:
                    assert (await other.sent()).endpoints[0] == "10.0.0.2:8000"
                    other.say(answer_head(ended=True))
                assert second.hears_nothing
                first.say(answer_head(ended=True))
                assert (await second.sent()).endpoints == ["10.0.0.1:8000"]
                second.say(answer_head(ended=True))
            assert picker.empty

    asyncio.run(main())


def test_a_clients_own_destination_is_written_over() -> None:
    async def main() -> None:
        theirs = [(b"x-gateway-destination-endpoint", b"192.0.2.1:1")]
        async with desk() as picker:
            for target in ("/v1/completions", "/v1/models"):
                async with asking(picker.desk, head(theirs, target=target), body()) as envoy:
                    sent = await envoy.sent_unread()
                    assert sent.endpoints[0] in {"10.0.0.1:8000", "10.0.0.2:8000"}
                    envoy.say(answer_head(ended=True))

    asyncio.run(main())


@pytest.mark.parametrize("shown", [NONE, FULL_DUPLEX_STREAMED])
@pytest.mark.parametrize(
    ("method", "target", "content"),
    [
        ("GET", "/v1/models", None),
        ("POST", "/v1/embeddings", b'{"input":"x"}'),
        ("POST", "/tokenize", bytes(200_000)),
        ("GET", "/v1/completions", None),
    ],
)
def test_what_no_plan_is_made_for_passes_as_it_is(
    shown: BodySendMode, method: str, target: str, content: bytes | None
) -> None:
    async def main() -> None:
        async with desk() as picker:
            begins = head(method=method, target=target, shown=shown, ended=content is None)
            async with asking(picker.desk, begins) as envoy:
                sent = await envoy.sent_unread()
                assert (sent.headers, sent.without) == ({}, [])
                if content is not None:
                    half = len(content) // 2
                    envoy.say(body(content[:half], last=False), body(content[half:]))
                    assert await envoy.passed_body() == content
                envoy.say(answer_head(404, ended=True))
                assert answer_headers(await envoy.hears("response_headers")) == {}
            assert picker.empty
            assert picker.told.jobs == []

    asyncio.run(main())


def test_a_buffered_body_that_no_plan_is_made_for_passes() -> None:
    async def main() -> None:
        async with desk() as picker:
            begins = head(target="/v1/embeddings", mode=BUFFERED, shown=NONE)
            async with asking(picker.desk, begins) as envoy:
                await envoy.sent_unread()
                envoy.say(body(b"{}"))
                assert not (await envoy.hears("request_body")).request_body.HasField("response")
                envoy.say(answer_head(ended=True))

    asyncio.run(main())
