"""Every route but those of completions: responses, embeddings, stored answers, models."""

import asyncio
from collections.abc import Sequence

import aiohttp
import orjson
import pytest

from slosched_server.progress import Progress
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import MODELS, FakeEngine, Reply, Seen, answer, die, stream
from tests.server.fleet import fleet
from tests.server.test_proxy import told

RESPONSES, EMBEDDINGS, STORED = "/v1/responses", "/v1/embeddings", "/v1/responses/resp_1"
ROUTES = {
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    RESPONSES: "POST",
    STORED: "GET",
    f"{STORED}/cancel": "POST",
    EMBEDDINGS: "POST",
    "/v1/models": "GET",
    "/health": "GET",
    "/ready": "GET",
    "/metrics": "GET",
}


def event(name: str, **data: object) -> bytes:
    kind = f"response.{name}"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data}))


EVENTS = [
    event("created"),
    event("in_progress"),
    event("output_item.added"),
    event("output_text.delta", delta="a"),
    event("output_text.delta", delta="b"),
    event("completed", response={"usage": {"output_tokens": 2}}),
]


@pytest.mark.parametrize("path", ROUTES)
def test_a_wrong_method_is_a_405_that_says_which_is_right(path: str) -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        for method in ("POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
            if method == ROUTES[path]:
                continue
            async with client.request(method, path) as got:
                error = (await got.json())["error"]
                assert (got.status, error["code"]) == (405, "method_not_allowed")
                assert ROUTES[path] in got.headers["allow"]
        assert engine.seen == []

    told(story)


def test_responses_are_tagged_and_pass_as_they_are() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        body = b'{"input":"hi","stream":true,"service_tier":"flex"}'
        async with client.post(RESPONSES, data=body) as got:
            assert await got.read() == b"".join(EVENTS)
            assert got.headers["x-slosched-class"] == "batch"
        xargs = orjson.loads(engine.seen[-1].body)["vllm_xargs"]
        assert xargs == {"slosched_class": "batch", "slosched_e2e_ms": 30_000}

    told(story, stream(EVENTS))


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_the_first_token_of_a_response_is_the_first_delta(step: int) -> None:
    """vLLM says `response.created` before it has done anything."""
    progress, data = Progress(0.0, stream=True, named=True), b"".join(EVENTS)
    first = data.index(b".delta\ndata:") + len(b".delta\ndata:")
    for start in range(0, len(data), step):
        progress.chunk(data[start : start + step], float(start))
        assert (progress.ttft is None) == (start + step < first)
    assert progress.events == 2


def test_embeddings_pass_with_their_body_and_are_no_completion() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        body = b'{ "input" : ["a"], "model":"m", "dimensions": 1e2}'
        async with client.post(EMBEDDINGS, data=body) as got:
            assert (got.status, await got.read()) == (200, b'{"data":[]}')
            assert "x-slosched-class" not in got.headers
        assert engine.seen[-1].body == body
        async with client.get("/metrics") as got:
            assert b"slosched_requests_total{" not in await got.read()

    told(story, answer(b'{"data":[]}'))


def test_stored_responses_are_the_engines() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        async with client.get(f"{STORED}?stream=true&starting_after=3") as got:
            assert got.status == 200
        async with client.post(f"{STORED}/cancel") as got:
            assert got.status == 200
        asked = [(seen.method, seen.target) for seen in engine.seen]
        assert asked == [
            ("GET", f"{STORED}?stream=true&starting_after=3"),
            ("POST", f"{STORED}/cancel"),
        ]

    told(story)


def test_a_large_body_of_embeddings_is_a_413() -> None:
    async def story(engine: FakeEngine, _: str, client: aiohttp.ClientSession) -> None:
        async with client.post(EMBEDDINGS, data=b"x" * 1600) as got:
            assert (got.status, (await got.json())["error"]["code"]) == (413, "body_too_large")
            assert got.headers["connection"] == "close"
        assert engine.seen == []

    told(story, settings=ServerSettings(max_body_bytes=1000))


# -- before several replicas -----------------------------------------------------------------------


def before_two(
    one: Reply, two: Reply, method: str, path: str
) -> tuple[int, str | None, bytes, Sequence[Sequence[Seen]]]:
    """Ask once; return status, replica, body, and what each engine was asked for."""

    async def main() -> tuple[int, str | None, bytes, Sequence[Sequence[Seen]]]:
        async with (
            FakeEngine(one) as first,
            FakeEngine(two) as second,
            fleet([first.url, second.url]) as client,
        ):
            async with client.request(
                method, path, data=b"{}" if method == "POST" else None
            ) as got:
                said = got.status, got.headers.get("x-slosched-replica"), await got.read()
            asked = [[s for s in e.seen if s.target.startswith("/v1/")] for e in (first, second)]
            return *said, asked

    return asyncio.run(main())


def test_embeddings_go_to_who_has_the_fewest_requests() -> None:
    async def main() -> None:
        held = stream([b"data: 1\n\n"], then=_forever)
        async with (
            FakeEngine(held) as one,
            FakeEngine(held) as two,
            fleet([one.url, two.url]) as client,
        ):
            asking = await client.post("/v1/completions", json={"prompt": "p", "stream": True})
            busy = asking.headers["x-slosched-replica"]
            other = {"r0": "r1", "r1": "r0"}[busy]
            first = await client.post(EMBEDDINGS, json={"input": "a"})
            assert first.headers["x-slosched-replica"] == other
            # Now each has one; one that has two is not asked.
            second = await client.post("/v1/completions", json={"prompt": "p", "stream": True})
            third = await client.post(EMBEDDINGS, json={"input": "a"})
            loads = [busy, other, second.headers["x-slosched-replica"]]
            expected = min(("r0", "r1"), key=lambda name: (loads.count(name), name))
            assert third.headers["x-slosched-replica"] == expected
            for got in (asking, first, second, third):
                got.close()

    asyncio.run(main())


async def _forever(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fails", [die, answer(b"{}", 503)], ids=["dies", "refuses"])
def test_embeddings_go_elsewhere_once(fails: Reply) -> None:
    status, replica, body, asked = before_two(fails, answer(b"[]"), "POST", EMBEDDINGS)
    assert (status, replica, body) == (200, "r1", b"[]")
    assert [len(seen) for seen in asked] == [1, 1]


def test_of_two_that_fail_the_last_is_heard() -> None:
    status, replica, body, _ = before_two(answer(b"a", 503), answer(b"b", 503), "POST", EMBEDDINGS)
    assert (status, replica, body) == (503, "r1", b"b")
    status, replica, body, _ = before_two(die, die, "POST", EMBEDDINGS)
    assert (status, replica, b"engine_unreachable" in body) == (502, None, True)


@pytest.mark.parametrize(("method", "path"), [("GET", STORED), ("POST", f"{STORED}/cancel")])
def test_who_made_a_response_is_found(method: str, path: str) -> None:
    unknown = answer(b'{"error":{}}', 404)
    assert before_two(unknown, answer(b"mine"), method, path)[:3] == (200, "r1", b"mine")
    status, _, _, asked = before_two(unknown, unknown, method, path)
    assert status == 404
    assert [[seen.target for seen in seen] for seen in asked] == [[path], [path]]


def test_models_are_told_whatever_one_replica_says() -> None:
    async def main() -> None:
        async with FakeEngine() as one, FakeEngine() as two, fleet([one.url, two.url]) as client:
            one.models = answer(b"no json")
            async with client.get("/v1/models", headers={"accept-encoding": "gzip"}) as got:
                assert orjson.loads(await got.read()) == orjson.loads(MODELS)
            assert "accept-encoding" not in str(two.seen[-1].headers).lower()
            async with client.head("/v1/models") as got:
                assert (got.status, await got.read()) == (200, b"")
            one.models = two.models = answer(b'{"error":{"code":401}}', 401)
            async with client.get("/v1/models") as got:
                assert (got.status, await got.read()) == (401, b'{"error":{"code":401}}')

    asyncio.run(main())
