"""Faults behind a real Envoy: replicas and pickers are processes that are killed, and come."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.picker.envoy import envoy
from tests.picker.pickers import Picker, picker
from tests.server.fake_engine import FakeEngine, Reply, Seen, answer, stream
from tests.server.test_fleet_kill import engine
from tests.simulated_engine.serve import PROFILE

COMPLETIONS = "/v1/completions"
REQUESTS, TOKENS = 36, 40
WHOLE = re.compile(rb'data: \[DONE\]|"usage"')
BOTH = pytest.mark.parametrize("shows_answers", [False, True], ids=["unseen", "shown"])
Said = tuple[int, str, bytes, str]


def config(file: Path, urls: Sequence[str], slots: int = 4) -> tuple[str, str]:
    """Write which replicas there are, in one piece; gives the picker's flags."""
    replicas = [{"url": url, "name": f"r{i}", "max_num_seqs": slots} for i, url in enumerate(urls)]
    new = file.with_suffix(".new")
    document = {
        "classes": {"interactive": {"ttft_ms": 1000}},
        "fleet": {"replicas": replicas, "probe_every_s": 0.2},
    }
    new.write_bytes(orjson.dumps(document))
    new.replace(file)
    return "--config", str(file)


async def ask(client: aiohttp.ClientSession, *, stream: bool = True) -> Said:
    """Ask; gives status, replica, what came of the body, and when to try again."""
    body = {"prompt": "p", "max_tokens": TOKENS, "ignore_eos": True, "stream": stream}
    received = b""
    async with client.post(COMPLETIONS, json=body) as got:
        replica, after = (got.headers.get(key, "") for key in ("x-slosched-replica", "retry-after"))
        try:
            async for piece in got.content.iter_any():
                received += piece
        except aiohttp.ClientError:
            received += b"(cut off)"
        return got.status, replica, received, after


def in_two(go: asyncio.Event) -> Reply:
    """Answer in two pieces, the second one once somebody says so."""

    async def later(_: Seen, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(b"6\r\nlast\n\n\r\n0\r\n\r\n")
        await writer.drain()

    return stream([b"first"], then=later)


async def until(log: Path, pattern: str) -> None:
    async with asyncio.timeout(60):
        while not re.search(pattern, log.read_text()):  # noqa: ASYNC110, ASYNC240 - another's log
            await asyncio.sleep(0.05)


@BOTH
def test_of_a_dead_replica_only_streams_in_flight_break(
    tmp_path: Path, shows_answers: bool
) -> None:
    """Law 1: nobody gets a 5xx, and each request is answered once or was on its way there."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(engine(profile)) for _ in range(3)]
            urls = [url for _, url in engines]
            asked = await stack.enter_async_context(
                picker(tmp_path, *config(tmp_path / "slosched.yaml", urls))
            )
            addresses = [url.removeprefix("http://") for url in urls]
            proxy = await stack.enter_async_context(
                envoy(tmp_path, [asked.address], addresses, shows_answers=shows_answers)
            )
            client = await stack.enter_async_context(aiohttp.ClientSession(proxy.url))
            asking = [
                asyncio.create_task(ask(client, stream=number % 3 > 0))
                for number in range(REQUESTS)
            ]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            engines[1][0].send_signal(signal.SIGKILL)
            said = await asyncio.gather(*asking)
            assert {status for status, *_ in said} == {200}
            broken = [replica for _, replica, body, _ in said if not WHOLE.search(body)]
            assert set(broken) <= {"r1"}
            assert len(broken) <= 4
            # Those that come now go to the others, without anybody's noticing.
            after = await asyncio.gather(*(ask(client) for _ in range(4)))
            assert {replica for _, replica, *_ in after} <= {"r0", "r2"}
            assert all(WHOLE.search(body) for _, _, body, _ in after)

    asyncio.run(main())


def test_a_replica_that_appears_is_used_and_one_that_goes_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeEngine() as one, FakeEngine() as two, AsyncExitStack() as stack:
            file = tmp_path / "slosched.yaml"
            asked = await stack.enter_async_context(picker(tmp_path, *config(file, [one.url])))
            proxy = await stack.enter_async_context(
                envoy(tmp_path, [asked.address], [one.url.removeprefix("http://")])
            )
            client = await stack.enter_async_context(aiohttp.ClientSession(proxy.url))
            assert (await ask(client))[1] == "r0"

            held = asyncio.Event()

            async def waits(seen: Seen, writer: asyncio.StreamWriter) -> None:
                await held.wait()
                await answer()(seen, writer)

            addresses = [each.url.removeprefix("http://") for each in (one, two)]
            proxy.endpoints("vllm", addresses)
            config(file, [one.url, two.url])
            await until(asked.log, "configuration reloaded")
            one.reply = waits  # so that not all can go there
            asking = [asyncio.create_task(ask(client)) for _ in range(8)]
            async with asyncio.timeout(60):
                while not any(seen.method == "POST" for seen in two.seen):
                    await two.begun.acquire()
            held.set()
            said = await asyncio.gather(*asking)
            assert {status for status, *_ in said} == {200}
            assert {replica for _, replica, *_ in said} == {"r0", "r1"}
            config(file, [two.url], slots=3)
            await until(asked.log, "replica removed")
            asked_before = len([seen for seen in one.seen if seen.method == "POST"])
            assert {status for status, *_ in [await ask(client) for _ in range(3)]} == {200}
            assert len([seen for seen in one.seen if seen.method == "POST"]) == asked_before

    asyncio.run(main())


@BOTH
def test_a_picker_that_is_killed_is_replaced_by_its_next(
    tmp_path: Path, shows_answers: bool
) -> None:
    """Whoever waits may try again; whoever is answered, unseen, is answered to the end."""

    async def main() -> None:
        go = asyncio.Event()
        async with AsyncExitStack() as stack:
            replica = await stack.enter_async_context(FakeEngine(in_two(go)))
            flags = config(tmp_path / "slosched.yaml", [replica.url], slots=1)
            asked = await stack.enter_async_context(picker(tmp_path, *flags))
            proxy = await stack.enter_async_context(
                envoy(
                    tmp_path, [asked.address], [replica.url.removeprefix("http://")],
                    shows_answers=shows_answers,
                )
            )  # fmt: skip
            client = await stack.enter_async_context(aiohttp.ClientSession(proxy.url))
            answered = asyncio.create_task(ask(client))
            await replica.begun.acquire()
            while not any(seen.method == "POST" for seen in replica.seen):
                await replica.begun.acquire()
            waits = asyncio.create_task(ask(client))
            await waiting(asked)
            asked.process.send_signal(signal.SIGKILL)
            status, _, _, after = await waits
            assert status == 503
            assert shows_answers or after == "1"
            status, _, _, after = await ask(client)  # nobody is there to be asked
            assert status == 503
            assert shows_answers or after == "1"
            go.set()
            status, _, body, _ = await answered
            if not shows_answers:
                assert (status, body) == (200, b"firstlast\n\n")
            ports = [
                int(part.rpartition(":")[2]) for part in (asked.address, asked.health, asked.status)
            ]
            await stack.enter_async_context(picker(tmp_path, *flags, ports=ports))
            replica.reply = answer()
            async with asyncio.timeout(60):
                statuses = Counter[int]()
                while not statuses[200]:
                    statuses[(await ask(client))[0]] += 1
            assert set(statuses) <= {200, 503}

    asyncio.run(main())


async def waiting(asked: Picker) -> None:
    """Wait until somebody waits at a picker."""
    async with aiohttp.ClientSession(asked.status) as client, asyncio.timeout(60):
        while True:
            async with client.get("/metrics") as got:
                if re.search(r"(?m)^slosched_queue_depth\{.*\} [1-9]", await got.text()):
                    return
