"""A real Envoy and the picker before a fake engine that decides over every byte."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.picker.desks import REAL, Picker, desk, listening
from tests.picker.envoy import Envoy, envoy
from tests.server.fake_engine import FakeEngine, Seen


@dataclass(repr=False)
class Proxied:
    """All three, and a client of Envoy."""

    engine: FakeEngine
    picker: Picker
    proxy: Envoy
    client: aiohttp.ClientSession

    @property
    def asked(self) -> list[Seen]:
        """What the engine was asked, but for looks at it."""
        return [seen for seen in self.engine.seen if seen.method == "POST"]

    @property
    def url(self) -> str:
        return self.proxy.url


@asynccontextmanager
async def proxied(
    folder: Path, *overrides: str, shows_answers: bool, slots: int = 4
) -> AsyncIterator[Proxied]:
    async with (
        FakeEngine() as engine,
        desk(*overrides, urls=[engine.url], slots=slots, connect=REAL) as picker,
        listening(picker) as (asked, _, _status),
        envoy(
            folder, [asked], [engine.url.removeprefix("http://")], shows_answers=shows_answers
        ) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
    ):
        yield Proxied(engine, picker, proxy, client)
        await picker.until_empty()


@contextmanager
def in_thread(folder: Path, *, shows_answers: bool) -> Iterator[Proxied]:
    """Serve from a thread, for tests that are not async."""
    ready, made = threading.Event(), list[Proxied]()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        end = asyncio.Event()
        stop.append((asyncio.get_running_loop(), end))
        async with proxied(folder, shows_answers=shows_answers) as one:
            made.append(one)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        if not ready.wait(300):
            raise TimeoutError
        yield made[0]
    finally:
        loop, end = stop[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(60)
