"""What the front end does with requests that go well, and with those that do not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from slosched.core.slo import Slo, SloClass
from slosched.core.tags import Tagger
from slosched_server.listen import free_port
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import MODELS, FakeEngine, Reply, Seen, answer, die, hang, stream
from tests.server.front_end import front_end

HANG_S = 60
COMPLETIONS = "/v1/completions"
Story = Callable[[FakeEngine, str, aiohttp.ClientSession], Awaitable[None]]


def told(story: Story, reply: Reply | None = None, settings: ServerSettings | None = None) -> None:
    """Run a story against a fake engine and the front end before it."""

    async def main() -> None:
        async with (
            asyncio.timeout(HANG_S),
            FakeEngine(reply or answer()) as engine,
            front_end(engine.url, settings) as url,
            aiohttp.ClientSession(url) as client,
        ):
            await story(engine, url, client)

    asyncio.run(main())


async def _error(response: aiohttp.ClientResponse) -> dict[str, object]:
    assert response.content_type == "application/json"
    error: dict[str, object] = orjson.loads(await response.read())["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_an_answer_says_its_class_and_timing() -> None:
    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        async with client.post(COMPLETIONS, data="{}", headers={"x-slo-class": "batch"}) as got:
            assert got.status == 200
            assert got.headers.getall("x-slosched-class") == ["batch"]
            assert got.headers["server-timing"].startswith("slosched;dur=")

    told(story, answer(headers=[(b"X-Slosched-Class", b"the engine's own")]))


def test_an_unknown_class_is_a_400_that_names_the_header() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        async with client.post(COMPLETIONS, data="{}", headers={"X-SLO-Class": "gold"}) as got:
            error = await _error(got)
        assert (got.status, error["param"], error["code"]) == (400, "x-slo-class", "invalid_slo")
        assert engine.seen == []

    told(story)


def test_the_openai_client_streams_through_it() -> None:
    """Through the very library that users have, for chat, errors and an unfinished stream."""

    async def story(engine: FakeEngine, url: str, _: aiohttp.ClientSession) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
            ask = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
            create: Any = client.chat.completions.create
            chunks = await create(**ask, stream=True, extra_headers={"x-slo-ttft-ms": "9"})
            assert [chunk.choices[0].delta.content async for chunk in chunks] == ["a", "b"]
            assert orjson.loads(engine.seen[-1].body)["vllm_xargs"]["slosched_ttft_ms"] == 9
            with pytest.raises(openai.BadRequestError, match="x-slo-ttft-ms") as caught:
                await create(**ask, extra_headers={"x-slo-ttft-ms": "soon"})
            assert caught.value.param == "x-slo-ttft-ms"
            engine.reply = stream(EVENTS[:1], then=die)
            with pytest.raises(openai.APIError, match="broke off"):
                assert [chunk async for chunk in await create(**ask, stream=True)] == []

    told(story, stream([*EVENTS, b"data: [DONE]\n\n"]))


def test_models_are_the_engines() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        async with client.get("/v1/models", headers={"authorization": "Bearer k"}) as got:
            assert (got.status, await got.read()) == (200, MODELS)
        assert engine.seen[-1].header(b"authorization") == b"Bearer k"

    told(story)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", COMPLETIONS, 405), ("POST", "/v1/nothing", 404)],
)
def test_what_there_is_not_is_an_openai_error_too(method: str, path: str, status: int) -> None:
    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        async with client.request(method, path) as got:
            assert got.status == status
            assert (await _error(got))["type"] == "invalid_request_error"

    told(story)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_a_413(chunked: bool) -> None:
    async def pieces() -> object:
        for _ in range(4):
            yield b"x" * 400

    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        data = pieces() if chunked else b"x" * 1600
        async with client.post(COMPLETIONS, data=data) as got:
            assert (got.status, (await _error(got))["code"]) == (413, "body_too_large")
        assert engine.seen == []

    told(story, settings=ServerSettings(max_body_bytes=1000))


def test_a_client_that_hangs_up_before_the_answer_is_felt_by_the_engine() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        asking = asyncio.create_task(client.post(COMPLETIONS, data="{}").__aenter__())
        await engine.begun.acquire()
        asking.cancel()
        await engine.gone.acquire()
        await _counted(client, 'requests_total{outcome="cancelled",slo_class="interactive"}', 1)

    told(story, hang)


def test_a_client_that_hangs_up_within_a_stream_is_felt_by_the_engine() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        got = await client.post(COMPLETIONS, data='{"stream":true}').__aenter__()
        assert await got.content.readany() == EVENTS[0]
        got.close()
        await engine.gone.acquire()

    told(story, stream(EVENTS[:1], then=hang))


@pytest.mark.parametrize("reply", [die, stream([], then=die)], ids=["no head", "no body"])
def test_an_engine_that_dies_before_the_first_byte_is_a_502(reply: Reply) -> None:
    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        async with client.post(COMPLETIONS, data='{"stream":true}') as got:
            assert (got.status, (await _error(got))["code"]) == (502, "engine_unreachable")
            assert got.headers["x-slosched-class"] == "interactive"
        await _counted(client, 'requests_total{outcome="failed",slo_class="interactive"}', 1)

    told(story, reply)


def test_no_engine_at_all_is_a_502_and_not_ready() -> None:
    async def main() -> None:
        nobody = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        async with front_end(nobody) as url, aiohttp.ClientSession(url) as client:
            async with client.post(COMPLETIONS, data="{}") as got:
                assert (got.status, (await _error(got))["type"]) == (502, "api_error")
            async with client.get("/v1/models") as got:
                assert (got.status, (await _error(got))["type"]) == (502, "api_error")
            async with client.get("/ready") as got:
                assert (got.status, (await _error(got))["code"]) == (503, "engine_not_ready")
            async with client.get("/health") as got:
                assert got.status == 200

    asyncio.run(main())


def test_who_has_an_engine_is_ready() -> None:
    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        for path in ("/ready", "/health"):
            async with client.get(path) as got:
                assert got.status == 200

    told(story)


@pytest.mark.parametrize("cut", [b"", b'data: {"half'], ids=["between events", "within one"])
def test_an_engine_that_dies_within_a_stream_ends_it_with_an_error_event(cut: bytes) -> None:
    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        async with client.post(COMPLETIONS, data='{"stream":true}') as got:
            text = await got.read()
        assert got.status == 200
        assert text.startswith(EVENTS[0] + cut)
        last, end = text.split(b"\n\n")[-2:]
        assert end == b""
        assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_broke_off"

    told(story, stream([EVENTS[0], cut], then=die))


@pytest.mark.parametrize("length", [None, b"100"], ids=["chunked", "with a length"])
def test_an_engine_that_dies_within_a_plain_answer_breaks_it(length: bytes | None) -> None:
    async def half(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        writer.close()

    async def story(_: FakeEngine, __: str, client: aiohttp.ClientSession) -> None:
        async with client.post(COMPLETIONS, data="{}") as got:
            with pytest.raises(aiohttp.ClientPayloadError):
                await got.read()

    json = ((b"content-type", b"application/json"),)
    told(story, half if length else stream([b"{"], json, then=die))


def test_metrics_by_class() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        engine.reply = stream([*EVENTS, EVENTS[0], b"data: [DO", b"NE]\n\n"])
        async with client.post(COMPLETIONS, data='{"stream":true}') as got:
            await got.read()
        engine.reply = answer(status=422)
        for headers in ({"x-slo-class": "batch"}, {"x-slo-class": "gold"}):
            async with client.post(COMPLETIONS, data="{}", headers=headers) as got:
                await got.read()
        await _counted(client, 'requests_total{outcome="finished",slo_class="interactive"}', 1)
        await _counted(client, 'requests_total{outcome="rejected",slo_class="batch"}', 1)
        await _counted(client, 'requests_total{outcome="rejected",slo_class="unknown"}', 1)
        for name in ("ttft", "tpot", "e2e"):
            await _counted(client, f'request_{name}_seconds_count{{slo_class="interactive"}}', 1)

    told(story)


def test_missed_limits_are_counted() -> None:
    """Limits of a nanosecond are missed whatever the machine does."""

    async def main() -> None:
        slo = Slo(ttft=1e-9, tpot=1e-9, e2e=1e-9)
        tagger = Tagger({"hasty": SloClass("hasty", slo)}, "hasty")
        async with (
            FakeEngine(stream(EVENTS)) as engine,
            front_end(engine.url, tagger=tagger) as url,
            aiohttp.ClientSession(url) as client,
        ):
            async with client.post(COMPLETIONS, data='{"stream":true}') as got:
                await got.read()
            for name in ("ttft", "e2e"):
                labels = f'{{slo_class="hasty",type="{name}"}}'
                await _counted(client, f"request_slo_violation_total{labels}", 1)

    asyncio.run(main())


async def _counted(client: aiohttp.ClientSession, sample: str, value: float) -> None:
    """Wait until a metric has a value: a client's hanging up takes a moment to be counted."""
    while True:
        async with client.get("/metrics") as got:
            lines = (await got.text()).splitlines()
        if f"slosched_{sample} {value:.1f}" in lines:
            return
        await asyncio.sleep(0.02)


EVENTS = [
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"fake",'
    b'"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % letter
    for letter in (b"a", b"b")
]
