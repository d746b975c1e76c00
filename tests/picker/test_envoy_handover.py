"""Pickers behind a Service, before a real Envoy that does not look which of them leads."""

import asyncio
from pathlib import Path

import aiohttp

from tests.picker.desks import REAL, desk, listening
from tests.picker.envoy import envoy
from tests.picker.relay import relay
from tests.picker.test_envoy_faults import ask, in_two
from tests.server.fake_engine import FakeEngine, answer


def test_connections_go_to_whoever_leads_now_while_answers_go_on(tmp_path: Path) -> None:
    """Envoy has one connection, which an answer that takes long keeps open at the old one."""

    async def main() -> None:
        go = asyncio.Event()
        async with (
            FakeEngine(in_two(go)) as engine,
            desk(urls=[engine.url], connect=REAL) as old,
            desk(urls=[engine.url], connect=REAL, leads=False) as new,
            listening(old) as (old_address, *_),
            listening(new) as (new_address, *_),
            relay(_port(old_address)) as service,
            envoy(
                tmp_path,
                [f"127.0.0.1:{service.port}"],
                [engine.url.removeprefix("http://")],
                looks=False,
            ) as proxy,
            aiohttp.ClientSession(proxy.url) as client,
        ):
            answered = asyncio.create_task(ask(client))
            while not any(seen.method == "POST" for seen in engine.seen):
                await engine.begun.acquire()
            engine.reply = answer()
            assert (await ask(client))[0] == 200

            old.role.lead(leads=False)
            service.to = [_port(new_address)]
            new.role.lead(leads=True)
            statuses = [(await ask(client))[0] for _ in range(6)]
            assert statuses == [503, *[200] * 5]
            assert len(new.told.jobs) == 5

            go.set()
            status, _, body, _ = await answered
            assert (status, body) == (200, b"firstlast\n\n")
            await old.until_empty()

    asyncio.run(main())


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
