"""Keys over HTTP, through the very client that users have."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from slosched_server.access import Access
from slosched_server.errors import ApiError
from slosched_server.keys import Keyring
from tests.server.front_end import in_thread
from tests.server.guarded import Files, Guarded, guarded

INTERACTIVE = {"slosched_class": "interactive", "slosched_ttft_ms": 1000}

Story = Callable[[Guarded], Awaitable[None]]


def told(files: Files, story: Story, overrides: Sequence[str] = ()) -> None:
    async def main() -> None:
        async with guarded(files, overrides) as front:
            await story(front)

    asyncio.run(main())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def xargs(front: Guarded) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(front.engine.seen[-1].body)["vllm_xargs"]
    return found


def test_whoever_has_a_key_is_served_as_its_tenant(files: Files) -> None:
    key, other = files.give("chat"), files.give("night", tenant="nightly", classes=["batch"])

    async def story(front: Guarded) -> None:
        assert (await front.ask(key)).headers["x-slosched-class"] == "interactive"
        assert xargs(front) == {**INTERACTIVE, "slosched_tenant": "chat"}
        assert (await front.ask(other)).headers["x-slosched-class"] == "batch"
        batch = {"slosched_class": "batch", "slosched_e2e_ms": 30_000}
        assert xargs(front) == {**batch, "slosched_tenant": "nightly"}

    told(files, story)


def test_without_a_key_nothing_is_served_and_nothing_reaches_the_engine(files: Files) -> None:
    files.give("chat")

    async def story(front: Guarded) -> None:
        for wrong in ("none", "slosched-" + "A" * 43):
            with pytest.raises(openai.AuthenticationError) as caught:
                await front.ask(wrong)
            assert caught.value.code == "invalid_api_key"
            assert caught.value.response.headers["www-authenticate"] == "Bearer"
            assert wrong not in caught.value.message
        async with front.client("none") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with aiohttp.ClientSession(front.url) as session:
            for headers in ({}, {"authorization": "Basic eA=="}, {"authorization": "Bearer"}):
                async with session.post("/v1/completions", data="{}", headers=headers) as got:
                    assert got.status == 401
            for path in ("/health", "/ready"):
                async with session.get(path) as got:
                    assert got.status == 200
        assert [seen.target for seen in front.engine.seen] == ["/health"]

    told(files, story)


def test_of_two_keys_in_one_request_none_counts(files: Files) -> None:
    key = files.give("chat")

    async def story(front: Guarded) -> None:
        headers = [("authorization", f"Bearer {key}")] * 2
        async with aiohttp.ClientSession(front.url) as session:
            for sent, status in ((headers, 401), (headers[:1], 200)):
                async with session.post("/v1/completions", data="{}", headers=sent) as got:
                    assert got.status == status

    told(files, story)


def test_a_refused_body_is_not_read_and_its_connection_serves_on(files: Files) -> None:
    """The answer must come through while the client still sends: it is no broken connection."""
    key = files.give("chat")

    async def story(front: Guarded) -> None:
        async with aiohttp.ClientSession(
            front.url, connector=aiohttp.TCPConnector(limit=1)
        ) as session:
            for _ in range(3):
                async with session.post("/v1/completions", data=bytes(900_000)) as got:
                    assert got.status == 401
                headers = {"authorization": f"Bearer {key}"}
                async with session.post("/v1/completions", data="{}", headers=headers) as got:
                    assert got.status == 200

    told(files, story)


def test_a_class_that_the_key_may_not_ask_for_is_a_403(files: Files) -> None:
    key = files.give("night", classes=["batch"])

    async def story(front: Guarded) -> None:
        await front.ask(key, {"x-slo-class": "batch"})
        with pytest.raises(openai.PermissionDeniedError, match="only for: batch") as caught:
            await front.ask(key, {"x-slo-class": "interactive"})
        assert (caught.value.param, caught.value.type) == ("x-slo-class", "permission_error")
        with pytest.raises(openai.PermissionDeniedError, match="x-slo-ttft-ms"):
            await front.ask(key, {"x-slo-ttft-ms": "1"})
        with pytest.raises(openai.PermissionDeniedError, match="fairness-id"):
            await front.ask(key, {"x-gateway-inference-fairness-id": "chat"})
        async with aiohttp.ClientSession(front.url) as session, session.get("/metrics") as got:
            page = await got.text()
        assert 'slosched_access_refused_total{reason="class"} 1.0' in page
        assert 'slosched_access_refused_total{reason="tag"} 2.0' in page
        assert 'slosched_requests_total{outcome="rejected",slo_class="unknown"} 3.0' in page

    told(files, story)


def test_a_key_too_often_used_is_told_when_to_come_again_and_others_are_served(
    files: Files,
) -> None:
    key = files.give("chat", requests_per_minute=1, burst=2)
    other = files.give("other", tokens_per_minute=1000)

    async def story(front: Guarded) -> None:
        for left in ("1", "0"):
            answer = await front.ask(key)
            assert answer.headers["x-ratelimit-limit-requests"] == "1"
            assert answer.headers["x-ratelimit-remaining-requests"] == left
        with pytest.raises(openai.RateLimitError) as caught:
            await front.ask(key)
        error = caught.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
        answer = await front.ask(other, max_tokens=999)
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
        with pytest.raises(openai.RateLimitError, match="1000 tokens a minute"):
            await front.ask(other, max_tokens=999)
        assert len(front.engine.seen) == 3

    told(files, story)


def test_the_engine_sees_neither_key_nor_tags(files: Files) -> None:
    key = files.give("chat", trusted=True)
    tags = {
        "x-slo-ttft-ms": "70",
        "x-gateway-inference-fairness-id": "t",
        "x-gateway-destination-endpoint": "10.0.0.1",
        "x-slosched-replica": "a",
        "x-other": "b",
    }

    async def story(front: Guarded) -> None:
        await front.ask(key, tags)
        seen = front.engine.seen[-1]
        names = {name.decode().lower() for name, _ in seen.headers}
        assert names & {"authorization", *tags} == {"x-other"}
        assert xargs(front) == {
            "slosched_class": "interactive", "slosched_ttft_ms": 70, "slosched_tenant": "t",
        }  # fmt: skip

    told(files, story)


def test_the_engine_gets_a_key_of_its_own(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    key = files.give("chat")
    monkeypatch.setenv("ENGINE_KEY", "engine-secret")

    async def story(front: Guarded) -> None:
        await front.ask(key)
        async with front.client(key) as client:
            assert [model.id async for model in client.models.list()] == ["fake"]
        for seen in front.engine.seen:
            assert seen.header(b"authorization") == b"Bearer engine-secret"
        assert "engine-secret" not in repr(front.control.in_force.rules)

    told(files, story, ["access.engine_key_env=ENGINE_KEY"])


def test_where_all_may_come_only_those_with_a_key_choose(files: Files) -> None:
    """Strangers' tags are ignored; a key that is not known is no stranger's."""
    key = files.give("chat", **{"class": "batch"})

    async def story(front: Guarded) -> None:
        headers = {"x-slo-class": "batch", "x-slo-e2e-ms": "1"}
        answer = await front.ask("none", headers, service_tier="flex")
        assert answer.headers["x-slosched-class"] == "interactive"
        assert xargs(front) == INTERACTIVE
        assert front.engine.seen[-1].header(b"x-slo-class") is None
        assert (await front.ask(key)).headers["x-slosched-class"] == "batch"
        with pytest.raises(openai.AuthenticationError):
            await front.ask("slosched-revoked")

    told(files, story, ["access.open=true", "access.tags=strip"])


def test_strangers_that_say_what_they_may_not_are_refused(files: Files) -> None:
    async def story(front: Guarded) -> None:
        await front.ask("none")
        with pytest.raises(openai.PermissionDeniedError, match="x-slo-class"):
            await front.ask("none", {"x-slo-class": "batch"})

    told(files, story, ["access.keys=null", "access.tags=refuse"])


def test_only_an_admin_key_opens_what_is_for_admins(files: Files) -> None:
    admin, key = files.give("ops", admin=True), files.give("chat")

    async def story(front: Guarded) -> None:
        async with aiohttp.ClientSession(front.url) as session:
            for sent, status in ((admin, 200), (key, 403), ("none", 401), (None, 401)):
                headers = {"authorization": f"Bearer {sent}"} if sent else {}
                async with session.get("/slosched/config", headers=headers) as got:
                    assert got.status == status
                # As a proxy on this machine passes strangers on.
                headers |= {"x-forwarded-for": "192.0.2.1"}
                async with session.get("/metrics", headers=headers) as got:
                    assert got.status == status
            async with session.get("/metrics") as got:
                assert got.status == 200

    told(files, story)


@pytest.mark.parametrize("client", ["192.0.2.1", "", "::2"])
def test_metrics_are_for_this_machine_unless_they_are_open(client: str) -> None:
    keys = Keyring({})
    with pytest.raises(ApiError):
        Access(keys).check_metrics(client, ())
    Access(keys).check_metrics("::1", ())
    Access(keys, metrics_open=True).check_metrics(client, ())
    Access().check_metrics(client, ())


def test_without_keys_all_is_as_it_was() -> None:
    with in_thread() as (engine, url):

        async def main() -> None:
            headers = {"authorization": "Bearer k", "x-slo-class": "batch"}
            async with (
                aiohttp.ClientSession(url) as session,
                session.post("/v1/completions", data="{}", headers=headers) as got,
            ):
                assert got.status == 200
                assert got.headers["x-slosched-class"] == "batch"

        asyncio.run(main())
        assert engine.seen[-1].header(b"authorization") == b"Bearer k"
        assert engine.seen[-1].header(b"x-slo-class") == b"batch"
