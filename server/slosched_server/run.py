"""Running the front end until it is told to stop, alone or with an engine behind it."""

import asyncio
import math
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from slosched.core.tags import Tagger
from slosched.dispatch import Dispatcher
from slosched_server.app import create_app
from slosched_server.child import EngineCommand
from slosched_server.fleet import FleetUpstream
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import listen
from slosched_server.overload import Overload
from slosched_server.settings import ServerSettings
from slosched_server.supervisor import Supervisor
from slosched_server.upstream import Upstream

log = structlog.get_logger()


_SAME_SIGNAL_S = 0.5


@dataclass(frozen=True, slots=True)
class FleetUrls:
    """Where replicas are, by name, seconds between probes and between plans, and bounds."""

    urls: Mapping[str, str]
    probe_every_s: float
    plan_every_s: float
    overload: Overload


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: the engine has to be stopped after the last request."""
        yield


def run_gateway(settings: ServerSettings, tagger: Tagger, upstream_url: str) -> None:
    """Serve before an engine that runs already, until SIGINT or SIGTERM.

    Raises
    ------
    PortError
        If the port cannot be listened on.
    """
    with closing(listen(settings.host, settings.port)) as listener:
        asyncio.run(_run(settings, tagger, upstream_url, listener, None))


def run_fleet(
    settings: ServerSettings, tagger: Tagger, dispatcher: Dispatcher, fleet: FleetUrls
) -> None:
    """Serve before many engines that run already, until SIGINT or SIGTERM.

    Parameters
    ----------
    dispatcher
        With all replicas.
    fleet
        Where they are, and how often they are looked at.

    Raises
    ------
    PortError
        If the port cannot be listened on.
    """
    with closing(listen(settings.host, settings.port)) as listener:
        dispatcher.warm_up()
        asyncio.run(_run_fleet(settings, tagger, dispatcher, fleet, listener))


async def _run_fleet(
    settings: ServerSettings,
    tagger: Tagger,
    dispatcher: Dispatcher,
    fleet: FleetUrls,
    listener: socket.socket,
) -> None:
    async with AsyncExitStack() as stack:
        upstreams = {
            name: await stack.enter_async_context(HttpUpstream(url, settings.connect_timeout_s))
            for name, url in fleet.urls.items()
        }
        upstream = await stack.enter_async_context(
            FleetUpstream(
                dispatcher,
                upstreams,
                probe_every_s=fleet.probe_every_s,
                probe_timeout_s=settings.connect_timeout_s,
                plan_every_s=fleet.plan_every_s,
                overload=fleet.overload,
            )
        )
        await _serve(settings, tagger, upstream, listener, " ".join(fleet.urls.values()), None)


def run_engine(
    settings: ServerSettings, tagger: Tagger, command: EngineCommand, engine_url: str
) -> None:
    """Start an engine and serve before it, until SIGINT or SIGTERM.

    Raises
    ------
    PortError
        If the port cannot be listened on; the engine has not been started then.
    EngineError
        If the engine fails to start, or ends and is not to be restarted again.
    """
    with closing(listen(settings.host, settings.port)) as listener:
        asyncio.run(_run(settings, tagger, engine_url, listener, command))


async def _run(
    settings: ServerSettings,
    tagger: Tagger,
    url: str,
    listener: socket.socket,
    command: EngineCommand | None,
) -> None:
    async with HttpUpstream(url, settings.connect_timeout_s) as upstream:
        supervisor = Supervisor(command, upstream, settings) if command else None
        await _serve(settings, tagger, upstream, listener, url, supervisor)


async def _serve(
    settings: ServerSettings,
    tagger: Tagger,
    upstream: Upstream,
    listener: socket.socket,
    shown_engine: str,
    supervisor: Supervisor | None,
) -> None:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.put_nowait, number)
    server = _Server(_uvicorn_config(settings, create_app(settings, tagger, upstream)))
    serving = asyncio.create_task(server.serve([listener]))
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening", url=f"http://{shown}:{port}", engine=shown_engine)
    engine = asyncio.create_task(supervisor.run()) if supervisor else None
    await _until_stopped(server, serving, engine, signals)


async def _until_stopped(
    server: uvicorn.Server,
    serving: asyncio.Task[None],
    engine: asyncio.Task[Any] | None,
    signals: asyncio.Queue[signal.Signals],
) -> None:
    """Wait for a signal, or for the engine's end; then drain, and only then end the engine."""
    told = asyncio.create_task(signals.get())
    running = {told, serving} | ({engine} if engine else set())
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        log.info("stopping, requests in flight may finish")
    told.cancel()
    server.should_exit = True
    hurry = asyncio.create_task(_hurry(server, engine, signals))
    try:
        await serving
    finally:
        if engine:
            await _end(engine)
        hurry.cancel()


async def _hurry(
    server: uvicorn.Server, engine: asyncio.Task[Any] | None, signals: asyncio.Queue[signal.Signals]
) -> None:
    # Some wrappers relay a Ctrl-C that we have got as well: that is one and the same.
    await asyncio.sleep(_SAME_SIGNAL_S)
    while not signals.empty():
        signals.get_nowait()
    log.info("once more to stop at once")
    while await signals.get():
        server.force_exit = True
        if engine:
            engine.cancel()


async def _end(engine: asyncio.Task[Any]) -> None:
    engine.cancel()
    await asyncio.wait({engine})
    if not engine.cancelled():
        engine.result()


def _uvicorn_config(settings: ServerSettings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        # The engine's own `server` and `date` are passed on.
        server_header=False,
        date_header=False,
        # Longer than clients keep idle connections, so that it is they who close.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
    )
