"""Clients that hang up: the engine stops within a step, and their slot is the next one's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest

from slosched.client.connection import Connection
from slosched.client.server import metrics, total
from tests.server.fleet import COMPLETIONS, fleet
from tests.server.front_end import front_end
from tests.simulated_engine.serve import simulated

# 30 ms a step by the default profile, made 0.3 s: a busy machine loses no step by that.
SPEED = 0.1
MOST_AFTER = 3  # one on its way to the client, one that runs, one more


@asynccontextmanager
async def before(engines: Sequence[str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve before one engine, or before many; gives a client."""
    if len(engines) > 1:
        async with fleet(engines) as client:
            yield client
    else:
        async with front_end(engines[0]) as url, aiohttp.ClientSession(url) as client:
            yield client


async def summed(engines: Sequence[str], name: str) -> float:
    found = 0.0
    for url in engines:
        async with Connection(url) as connection:
            found += total(await metrics(connection), f"vllm:{name}") or 0.0
    return found


async def until(engines: Sequence[str], name: str, least: float, most: float) -> float:
    while True:
        if least <= (found := await summed(engines, name)) <= most:
            return found
        await asyncio.sleep(0.01)


async def hang_up(client: aiohttp.ClientSession, engines: Sequence[str], stream: bool) -> float:
    """Ask for much, go away after three tokens, and say how many there were."""
    before = await summed(engines, "generation_tokens_total")
    body = {"prompt": "p", "max_tokens": 3000, "ignore_eos": True, "stream": stream}
    asking = asyncio.ensure_future(client.post(COMPLETIONS, json=body))
    if stream:
        got, events = await asking, b""
        while events.count(b"\n\n") < 3:
            events += await got.content.readany()
        got.close()
        return before + events.count(b"\n\n")
    seen = await until(engines, "generation_tokens_total", before + 3, 1e9)
    asking.cancel()
    await asyncio.wait({asking})
    return seen


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("engines", [1, 2])
def test_the_engine_stops_and_the_slot_is_free(engines: int, stream: bool) -> None:
    async def main() -> None:
        slot = "engine.max_num_seqs=1"
        async with simulated(slot, speed=SPEED) as one, simulated(slot, speed=SPEED) as two:
            urls = [one, two][:engines]
            async with before(urls) as client, asyncio.timeout(60):
                seen = await hang_up(client, urls, stream)
                await until(urls, "num_requests_running", 0, 0)
                generated = await summed(urls, "generation_tokens_total")
                assert generated - seen <= MOST_AFTER
                short = {"prompt": "next", "max_tokens": 1}
                async with client.post(COMPLETIONS, json=short) as got:
                    assert got.status == 200

    asyncio.run(main())
