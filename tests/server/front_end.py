"""The real front end on a free port, in the caller's loop or in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
import uvloop

from slosched.core.slo import Slo, SloClass
from slosched.core.tags import Tagger
from slosched_server.app import create_app
from slosched_server.cork import CorkedHttp
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import listen
from slosched_server.rules import Rules, RulesInForce
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import FakeEngine

CLASSES = {
    "interactive": SloClass("interactive", Slo(ttft=1.0, tpot=0.1, weight=2.0)),
    "batch": SloClass("batch", Slo(e2e=30.0), "flex"),
}
TAGGER = Tagger(CLASSES, "interactive")


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an application on a free port; gives the URL."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http=CorkedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await running


@asynccontextmanager
async def front_end(
    engine_url: str, settings: ServerSettings | None = None, tagger: Tagger = TAGGER
) -> AsyncIterator[str]:
    """Serve before an engine; gives the URL."""
    settings = settings or ServerSettings()
    async with (
        HttpUpstream(engine_url, settings.connect_timeout_s) as upstream,
        serving(create_app(settings, RulesInForce(Rules(tagger)), upstream)) as url,
    ):
        yield url


@contextmanager
def in_thread(settings: ServerSettings | None = None) -> Iterator[tuple[FakeEngine, str]]:
    """Serve before a fake engine from a thread, for tests that are not async."""
    ready: threading.Event = threading.Event()
    made: list[tuple[FakeEngine, str]] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        end = asyncio.Event()
        stop.append((asyncio.get_running_loop(), end))
        async with FakeEngine() as engine, front_end(engine.url, settings) as url:
            made.append((engine, url))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    if not ready.wait(60):
        raise TimeoutError
    try:
        yield made[0]
    finally:
        loop, end = stop[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(60)
