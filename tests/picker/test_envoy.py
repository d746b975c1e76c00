"""Through a real Envoy: tags and their errors, what clients may not say, and clients that go."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from tests.picker.proxied import Proxied, proxied
from tests.server.fake_engine import Seen, answer, hang, stream

COMPLETIONS = "/v1/completions"
BOTH = pytest.mark.parametrize("shows_answers", [False, True], ids=["unseen", "shown"])
CHAT = [
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"%b"}}]}' % word
    for word in (b"one ", b"two")
]


def told(
    folder: Path, story: Callable[[Proxied], Awaitable[None]], *overrides: str, **options: Any
) -> None:
    async def main() -> None:
        async with proxied(folder, *overrides, **options) as one, asyncio.timeout(60):
            await story(one)

    asyncio.run(main())


def xargs(seen: Seen) -> dict[str, object]:
    found: dict[str, object] = orjson.loads(seen.body)["vllm_xargs"]
    return found


@BOTH
def test_tags_of_both_kinds_of_clients_reach_the_engine(
    tmp_path: Path, shows_answers: bool
) -> None:
    async def story(one: Proxied) -> None:
        for headers, expected in (
            ({"x-slo-class": "batch"}, {"slosched_class": "batch"}),
            ({"x-gateway-inference-objective": "batch"}, {"slosched_class": "batch"}),
            ({"x-llm-d-slo-ttft-ms": "250"}, {"slosched_ttft_ms": 250}),
            ({"x-slo-tpot-ms": "70"}, {"slosched_tpot_ms": 70}),
            ({"x-gateway-inference-fairness-id": "t-1"}, {"slosched_tenant": "t-1"}),
        ):
            async with one.client.post(COMPLETIONS, json={}, headers=headers) as got:
                assert got.status == 200
                assert "x-slosched-class" in got.headers
                assert got.headers["x-slosched-replica"] == "r0"
            found = xargs(one.asked[-1])
            assert {key: found[key] for key in expected} == expected

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_errors_have_openais_form(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        one.engine.reply = hang
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        ask: Any = {"model": "m", "prompt": "p", "max_tokens": 5}
        async with client:
            with pytest.raises(openai.BadRequestError, match="did you mean batch") as caught:
                await client.completions.create(**ask, extra_headers={"x-slo-class": "bach"})
            assert caught.value.param == "x-slo-class"
            before = [asyncio.create_task(client.completions.create(**ask)) for _ in range(2)]
            await one.picker.until_waiting(1)
            with pytest.raises(openai.RateLimitError) as full:
                await client.completions.create(**ask)
            assert full.value.code == "overloaded"
            assert int(full.value.response.headers["retry-after"]) >= 1
            for task in before:
                task.cancel()
            await asyncio.gather(*before, return_exceptions=True)

    told(tmp_path, story, "fleet.max_waiting=1", slots=1, shows_answers=shows_answers)


@BOTH
def test_openais_client_streams(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        one.engine.reply = stream([b"data: %b\n\n" % event for event in [*CHAT, b"[DONE]"]])
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        async with client:
            said = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            parts = [part.choices[0].delta.content async for part in said]
            assert parts == ["one ", "two"]
            assert [model.id async for model in client.models.list()] == ["fake"]
        await one.picker.until_empty()
        assert one.picker.told.outcomes == ["finished"]
        seen = 2 if shows_answers else 0
        assert one.picker.told.jobs[0].progress.events == seen

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_what_no_plan_is_made_for_passes_with_its_body(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        for content in (b'{"input":"x"}', bytes(200_000)):
            one.engine.reply = answer(content[::-1])
            async with one.client.post("/v1/embeddings", data=content) as got:
                assert (got.status, await got.read()) == (200, content[::-1])
            assert one.asked[-1].body == content

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_what_else_engines_have_is_out_of_reach(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        for method, path in (
            ("GET", "/metrics"),
            ("POST", "/invocations"),
            ("POST", "/v1beta/completions"),
            ("POST", "/v1/../invocations"),
        ):
            async with one.client.request(method, path) as got:
                assert (got.status, got.content_type) == (404, "application/json")
                assert (await got.json())["error"]["code"] == "not_found"
        assert not one.asked

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_a_client_does_not_choose_its_endpoint(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        theirs = {
            "x-gateway-destination-endpoint": "127.0.0.1:1",
            "x-gateway-destination-endpoint-subset": "127.0.0.1:1",
        }
        for target in (COMPLETIONS, "/v1/embeddings"):
            async with one.client.post(target, json={}, headers=theirs) as got:
                assert got.status == 200
            said = one.asked[-1].header(b"x-gateway-destination-endpoint")
            assert said == one.engine.url.removeprefix("http://").encode()

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_one_id_is_everywhere(tmp_path: Path, shows_answers: bool) -> None:
    async def story(one: Proxied) -> None:
        async with one.client.post(COMPLETIONS, json={}, headers={"x-request-id": "mine-1"}) as got:
            assert got.headers["x-request-id"] == "mine-1"
        assert one.asked[-1].header(b"x-request-id") == b"mine-1"
        assert one.picker.told.jobs[0].request_id == "mine-1"

    told(tmp_path, story, shows_answers=shows_answers)


@BOTH
def test_law_1_clients_that_hang_up_leave_nothing(tmp_path: Path, shows_answers: bool) -> None:
    """One is being answered, one is sent and not answered yet, one waits."""

    async def story(one: Proxied) -> None:
        one.engine.reply = stream([b"data: 1\n\n"], then=hang)
        async with one.client.post(COMPLETIONS, json={"max_tokens": 5}) as got:
            assert await got.content.readany() == b"data: 1\n\n"
            waits = asyncio.create_task(one.client.post(COMPLETIONS, json={"max_tokens": 5}))
            await one.picker.until_waiting(1)
            waits.cancel()
            await one.picker.until_waiting(0)
            got.close()
        await one.picker.until_empty()
        one.engine.reply = hang
        sent = asyncio.create_task(one.client.post(COMPLETIONS, json={"max_tokens": 5}))
        await one.picker.until(lambda: len(one.asked) == 2)
        sent.cancel()
        await one.picker.until_empty()
        await one.engine.gone.acquire()  # the engine hears of it, too

    told(tmp_path, story, slots=1, shows_answers=shows_answers)


@BOTH
def test_a_picker_that_steps_down_sends_those_who_wait_elsewhere(
    tmp_path: Path, shows_answers: bool
) -> None:
    async def story(one: Proxied) -> None:
        go = asyncio.Event()

        async def later(seen: Seen, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await answer(b"whole")(seen, writer)

        one.engine.reply = later
        first = asyncio.create_task(one.client.post(COMPLETIONS, json={"max_tokens": 5}))
        await one.picker.until(lambda: bool(one.picker.told.jobs))
        waits = asyncio.create_task(one.client.post(COMPLETIONS, json={"max_tokens": 5}))
        await one.picker.until_waiting(1)
        one.picker.role.lead(leads=False)
        async with await waits as got:
            assert (got.status, got.headers["retry-after"]) == (503, "1")
            assert (await got.json())["error"]["code"] == "picker_unavailable"
        go.set()
        async with await first as got:
            assert (got.status, await got.read()) == (200, b"whole")

    told(tmp_path, story, slots=1, shows_answers=shows_answers)
