"""Replicas and settings that change while requests are served."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from slosched_server.listen import free_port
from tests.server.fake_engine import FakeEngine, Seen, answer, stream
from tests.server.fleet import ADMIN, ask, fleet
from tests.simulated_engine.serve import simulated

REPLICAS, CONFIG = "/slosched/replicas", "/slosched/config"
EVENT = b'data: {"choices":[{"text":"a"}]}\n\n'


async def call(
    client: aiohttp.ClientSession, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    async with client.request(method, path, json=body, headers=ADMIN) as got:
        return got.status, orjson.loads(await got.read())


async def replicas(client: aiohttp.ClientSession) -> dict[str, dict[str, Any]]:
    _, said = await call(client, "GET", REPLICAS)
    return {replica["name"]: replica for replica in said["replicas"]}


async def until(client: aiohttp.ClientSession, holds: Callable[[dict[str, Any]], bool]) -> None:
    for _ in range(1000):
        if holds(await replicas(client)):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@asynccontextmanager
async def asked(client: aiohttp.ClientSession, number: int) -> AsyncIterator[list[Any]]:
    """Ask so often for streams that do not end; gives the tasks."""
    tasks = [asyncio.create_task(ask(client, stream=True)) for _ in range(number)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_replica_comes_while_requests_wait() -> None:
    async def main() -> None:
        gone = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        async with fleet([gone]) as client, FakeEngine(answer(b"{}")) as engine:
            await until(client, lambda now: now["r0"]["state"] == "away")
            waiting = asyncio.create_task(ask(client))
            fields = {"url": engine.url, "name": "new", "max_num_seqs": 2}
            status, said = await call(client, "POST", REPLICAS, fields)
            assert (status, said) == (201, {"name": "new", "url": engine.url})
            assert (await waiting)[:2] == (200, "new")
            assert (await call(client, "POST", REPLICAS, fields))[0] == 409

    asyncio.run(main())


def test_a_replica_that_is_removed_finishes_what_it_has_first() -> None:
    async def main() -> None:
        ends = asyncio.Event()

        async def waits(_: Seen, writer: asyncio.StreamWriter) -> None:
            await ends.wait()
            writer.write(b"0\r\n\r\n")
            await writer.drain()

        slow = stream([EVENT], then=waits)
        async with (
            FakeEngine(slow) as one,
            FakeEngine(answer(b"{}")) as two,
            fleet([one.url]) as client,
            asked(client, 1) as [first],
        ):
            await until(client, lambda now: now["r0"]["running"] == 1)
            await call(client, "POST", REPLICAS, {"url": two.url, "name": "two"})
            assert (await call(client, "DELETE", f"{REPLICAS}/r0"))[0] == 202
            assert (await ask(client))[1] == "two"
            assert (await replicas(client))["r0"]["state"] == "draining"
            assert not first.done()
            ends.set()
            assert EVENT in (await first)[2]
            await until(client, lambda now: set(now) == {"two"})
            assert (await call(client, "DELETE", f"{REPLICAS}/r0"))[0] == 404

    asyncio.run(main())


def test_a_drain_may_be_taken_back() -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}")) as one, fleet([one.url]) as client:
            assert (await call(client, "POST", f"{REPLICAS}/r0/drain"))[0] == 202
            waiting = asyncio.create_task(ask(client))
            await asyncio.sleep(0.2)  # in which probes find it well, and it still gets nobody
            assert not waiting.done()
            assert (await replicas(client))["r0"]["state"] == "draining"
            assert (await call(client, "POST", f"{REPLICAS}/r0/resume"))[0] == 202
            assert (await waiting)[:2] == (200, "r0")

    asyncio.run(main())


def test_what_others_keep_an_engine_busy_with_is_seen() -> None:
    """Slots that somebody else took are not given away."""

    async def main() -> None:
        async with (
            simulated("engine.max_num_seqs=4", speed=1.0) as url,
            fleet([url]) as client,
            aiohttp.ClientSession(url) as around,
        ):
            body = {"prompt": "p", "max_tokens": 3000, "ignore_eos": True}
            others = [
                asyncio.create_task(around.post("/v1/completions", json=body)) for _ in range(3)
            ]
            await until(client, lambda now: now["r0"]["others"] == 3)
            async with asked(client, 3):
                await until(client, lambda now: now["r0"]["running"] == 1)
                assert (await replicas(client))["r0"]["kv_used"] > 0
                await asyncio.sleep(0.2)  # in which readings come, with ours in them
                assert (await replicas(client))["r0"]["running"] == 1
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", REPLICAS, {"url": "nowhere"}, 400, "url"),
        ("POST", REPLICAS, {"url": "http://127.0.0.1:1", "slots": 3}, 400, "slots: unknown field"),
        ("POST", REPLICAS, [1], 400, "must be a JSON object"),
        ("POST", f"{REPLICAS}/nobody/drain", None, 404, "no replica 'nobody'; there are: r0"),
        ("PUT", CONFIG, {"edits": "a=b"}, 400, "must be a list"),
        ("PUT", CONFIG, {"edits": ["fleet.assignment.solver.cooling=2"]}, 400, "cooling"),
        ("PUT", CONFIG, {"edits": ["fleet.asignment=1"]}, 400, "did you mean assignment?"),
    ],
)
def test_bad_input_changes_nothing(
    method: str, path: str, body: Any, status: int, words: str
) -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}")) as one, fleet([one.url]) as client:
            before = await call(client, "GET", CONFIG)
            got, said = await call(client, method, path, body)
            assert got == status
            assert words in said["error"]["message"]
            assert await call(client, "GET", CONFIG) == before
            assert list(await replicas(client)) == ["r0"]
            assert (await ask(client))[0] == 200

    asyncio.run(main())


def test_nobody_without_the_key_is_told_anything() -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}")) as one, fleet([one.url]) as client:
            for method, path in (("GET", REPLICAS), ("GET", CONFIG), ("DELETE", f"{REPLICAS}/r0")):
                async with client.request(method, path) as got:
                    assert got.status == 401
            assert list(await replicas(client)) == ["r0"]

    asyncio.run(main())


def test_an_edit_is_in_force_at_once() -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}")) as one, fleet([one.url]) as client:
            edits = ["fleet.assignment.solver.cooling=0.5", "fleet.max_waiting=7"]
            status, said = await call(client, "PUT", CONFIG, {"edits": edits})
            assert (status, said["edits"]) == (200, edits)
            assert said["config"]["fleet"]["assignment"]["solver"]["cooling"] == 0.5
            assert (await ask(client))[0] == 200
            await call(client, "PUT", CONFIG, {"edits": ["fleet.assignment={kind: round_robin}"]})
            assert (await ask(client))[0] == 200
            _, said = await call(client, "PUT", CONFIG, {"edits": []})
            assert said["config"]["fleet"]["assignment"]["kind"] == "planned"
            assert (await ask(client))[0] == 200

    asyncio.run(main())


def test_members_follow_the_configuration(tmp_path: Path) -> None:
    """Those that were added by hand stay."""

    async def main() -> None:
        async with (
            FakeEngine(answer(b"1")) as one,
            FakeEngine(answer(b"2")) as two,
            FakeEngine(answer(b"3")) as three,
            fleet([one.url]) as client,
        ):
            await call(client, "POST", REPLICAS, {"url": three.url, "name": "by hand"})
            for url, name in ((two.url, "r0"), (one.url, "r1")):
                edit = f"fleet.replicas=[{{url: '{url}', name: {name}}}]"
                assert (await call(client, "PUT", CONFIG, {"edits": [edit]}))[0] == 200
                await until(
                    client,
                    lambda now, name=name, url=url: (  # type: ignore[misc]
                        set(now) == {"by hand", name} and now[name]["url"] == url
                    ),
                )
                assert (await ask(client))[0] == 200

    asyncio.run(main())
