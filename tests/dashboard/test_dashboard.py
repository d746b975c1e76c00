"""The routes of the live page: who may have them, what they say, and that they end."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from slosched.report.figures.ink import INKS
from slosched_server.app import create_app
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.dashboard.pages import SAFE
from slosched_server.http_upstream import HttpUpstream
from slosched_server.rules import Rules, RulesInForce
from slosched_server.settings import ServerSettings
from tests.dashboard.site import program
from tests.server.fake_engine import FakeEngine
from tests.server.fleet import ask, fleet
from tests.server.front_end import TAGGER, serving
from tests.server.guarded import Files, guarded
from tests.simulated_engine.serve import simulated

STATIC = files("slosched_server.dashboard") / "static"
FILES = sorted(one.name for one in STATIC.iterdir() if one.name != "page.html")


@asynccontextmanager
async def before_one_engine(**options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve before a fake engine; gives a client."""
    async with FakeEngine() as engine, HttpUpstream(engine.url, 5.0) as upstream:
        shown = {
            "classes": {"interactive": {"ttft_ms": 1000.0}, "batch": {"e2e_ms": 30000.0}},
            "access": {"keys": "/secret/place"},
            "policy": {"kind": "planned", "solver": {"kind": "anneal", "cooling": 0.9}},
            "fleet": {"replicas": [{"url": "http://10.0.0.1"}], "ahead": 0},
        }
        in_force = RulesInForce(Rules(TAGGER, shown=shown))
        dashboard = Dashboard(in_force, every_s=0.02, **options)
        app = create_app(ServerSettings(), in_force, upstream, dashboard=dashboard)
        async with serving(app) as url, aiohttp.ClientSession(url) as client:
            yield client


async def events(client: aiohttp.ClientSession) -> AsyncGenerator[dict[str, Any], None]:
    async with client.get("/dashboard/events") as got:
        assert got.status == 200
        assert got.content_type == "text/event-stream"
        async for line in got.content:
            if line.startswith(b"data: "):
                yield json.loads(line[len(b"data: ") :])


async def newest(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with aclosing(events(client)) as stream:
        return await anext(stream)


def test_the_files_of_the_page_may_be_had_and_nothing_from_elsewhere() -> None:
    async def main() -> None:
        async with before_one_engine() as client:
            for path in ("/dashboard", *(f"/dashboard/{name}" for name in FILES)):
                async with client.get(path) as got:
                    assert got.status == 200, path
                    assert {name: got.headers[name] for name in SAFE} == SAFE
            async with client.get("/dashboard/nothing.js") as got:
                assert got.status == 404

    asyncio.run(main())
    page = (STATIC / "page.html").read_text()
    assert not re.search(r"\son\w+=|style=|<style|javascript:", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="dashboard/app.js">']
    for name in FILES:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacentHTML|Storage", text), (
            name
        )


def test_the_colours_are_those_of_reports() -> None:
    style = (STATIC / "style.css").read_text()
    found = dict(re.findall(r"--(\w+): light-dark\(([^)]*)\)", style))
    for name in ("paper", "text", "faint", "grid", "met", "missed"):
        assert found[name] == ", ".join(INKS[name])


def test_before_one_engine_what_is_known_is_shown() -> None:
    async def main() -> None:
        async with before_one_engine() as client:
            status, _, _ = await ask(client)
            assert status == 200
            seen = await newest(client)
            assert seen["queue"] is seen["replicas"] is seen["hindsight"] is None
            assert [one["name"] for one in seen["classes"]] == ["interactive", "batch"]
            first = seen["classes"][0]
            assert first["limits"] == {"ttft": 1000.0}
            assert first["waiting"] is None
            assert (first["total"], first["minute"]["counted"]) == (
                {"counted": 1, "attained": 1},
                1,
            )

    asyncio.run(main())


def test_of_the_configuration_nothing_is_shown_that_says_where_or_who() -> None:
    async def main() -> None:
        async with before_one_engine() as client:
            async with client.get("/dashboard/config") as got:
                said = await got.json()
            assert said["fields"] == {"cooling": 0.9}
            assert said["path"] == "policy.solver"
            assert set(said["config"]) == {"classes", "policy", "fleet"}
            assert "replicas" not in said["config"]["fleet"]

    asyncio.run(main())


def test_many_watch_and_one_too_many_is_refused() -> None:
    async def main() -> None:
        async with before_one_engine(most_watchers=2) as client:
            one, two = events(client), events(client)
            for _ in range(3):
                assert await anext(one)
                assert await anext(two)
            async with client.get("/dashboard/events") as got:
                assert got.status == 503
                assert (await got.json())["error"]["code"] == "too_many_watchers"
            await one.aclose()
            async with asyncio.timeout(60):
                while True:
                    async with client.get("/dashboard/events") as got:
                        if got.status == 200:
                            break
            await two.aclose()

    asyncio.run(main())


def test_whoever_may_see_metrics_may_watch(tmp_path: Path) -> None:
    async def main() -> None:
        kept = Files(tmp_path)
        user, admin = kept.give("user"), kept.give("ops", admin=True)
        elsewhere = {"x-forwarded-for": "192.0.2.7"}
        async with guarded(kept) as served, aiohttp.ClientSession(served.url) as client:
            for path in ("/dashboard/events", "/dashboard/config"):
                for key, status in (("", 401), ("no-such-key", 401), (user, 403), (admin, 200)):
                    own = {"authorization": f"Bearer {key}"} if key else {}
                    async with client.get(path, headers=elsewhere | own) as got:
                        assert got.status == status, (path, key)
                async with client.get(path) as got:
                    assert got.status == 200
            async with client.get("/dashboard", headers=elsewhere) as got:
                assert got.status == 200

    asyncio.run(main())


def test_before_replicas_it_is_told_who_got_what() -> None:
    async def main() -> None:
        slots = "engine.max_num_seqs=4"
        async with (
            simulated(slots) as one,
            simulated(slots) as two,
            fleet([one, two]) as client,
        ):
            said = await asyncio.gather(
                *(ask(client, max_tokens=8, stream=i % 2 == 0) for i in range(12))
            )
            assert {status for status, _, _ in said} == {200}
            seen = await newest(client)
        assert seen["queue"] == {"waiting": [], "more": 0}
        assert [one["name"] for one in seen["replicas"]] == ["r0", "r1"]
        [interactive] = [one for one in seen["classes"] if one["total"]["counted"]]
        assert interactive["minute"]["ended"]["finished"] == 12
        assert interactive["minute"]["tokens"] >= 12 * 8
        assert seen["underway"] == 0
        hindsight = seen["hindsight"]
        assert (hindsight["requests"], hindsight["pending"]) == (12, 0)
        assert hindsight["measured"] <= 12

    asyncio.run(main())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_page_that_is_open_does_not_hold_up_a_stop(how: signal.Signals) -> None:
    """It may take five minutes for requests in flight; the page is none of these."""

    async def watch(url: str, stop: Any) -> int:
        async with aiohttp.ClientSession(url) as client:
            number = 0
            async for _ in events(client):
                if not number:
                    stop()
                number += 1
            return number

    arguments = ("--port", "0", "--upstream", "http://127.0.0.1:9", "--set")
    with program("gateway", *arguments, "server.drain_timeout_s=300") as (process, url):
        assert asyncio.run(watch(url, lambda: process.send_signal(how))) >= 1
        assert process.wait(60) == 0
