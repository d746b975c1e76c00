"""Running the front end until it is told to stop, alone or with an engine behind it."""

import asyncio
import gc
import logging
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.admin import Admin
from slosched_server.app import create_app
from slosched_server.child import EngineCommand
from slosched_server.config_reloads import ConfigReloads
from slosched_server.control import Control
from slosched_server.cork import CorkedHttp
from slosched_server.fleet import FleetUpstream
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import listen
from slosched_server.members import Connect, Members
from slosched_server.rules import RulesSource
from slosched_server.settings import ServerSettings
from slosched_server.supervisor import Supervisor
from slosched_server.telemetry import TelemetrySettings, tracing
from slosched_server.upstream import Upstream

if TYPE_CHECKING:
    from slosched_server.tracing import Tracing

log = structlog.get_logger()


_SAME_SIGNAL_S = 0.5
_COLLECT_EVERY = 10_000  # objects; a request makes some hundred, and leaves none


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: the engine has to be stopped after the last request."""
        yield


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is served, and where, and where it is measured."""

    settings: ServerSettings
    control: Control
    listener: socket.socket
    tracing: "Tracing | None" = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def run_gateway(
    settings: ServerSettings,
    source: RulesSource,
    upstream_url: str,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Serve before an engine that runs already, until SIGINT or SIGTERM.

    Parameters
    ----------
    telemetry
        Where traces go; nowhere by default.

    Raises
    ------
    SloschedError
        If the configuration does not fit.
    PortError
        If the port cannot be listened on.
    """
    control = Control(source)
    with closing(listen(settings.host, settings.port)) as listener, _traced(telemetry) as traces:
        uvloop.run(_run(_Stage(settings, control, listener, traces), upstream_url, None))


def run_fleet(
    settings: ServerSettings,
    source: RulesSource,
    dispatcher: Dispatcher,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Serve before many engines that run already, until SIGINT or SIGTERM; raises as `run_gateway`.

    Parameters
    ----------
    dispatcher
        Without replicas: these are in the rules.
    telemetry
        As of `run_gateway`.
    """
    control = Control(source)
    with closing(listen(settings.host, settings.port)) as listener, _traced(telemetry) as traces:
        uvloop.run(_run_fleet(_Stage(settings, control, listener, traces), dispatcher))


def run_engine(
    settings: ServerSettings,
    source: RulesSource,
    command: EngineCommand,
    engine_url: str,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Start an engine and serve before it, until SIGINT or SIGTERM; raises as `run_gateway`.

    Raises
    ------
    EngineError
        If the engine fails to start, or ends and is not to be restarted again.
    """
    control = Control(source)
    with closing(listen(settings.host, settings.port)) as listener, _traced(telemetry) as traces:
        uvloop.run(_run(_Stage(settings, control, listener, traces), engine_url, command))


def _traced(telemetry: TelemetrySettings | None) -> AbstractContextManager["Tracing | None"]:
    return tracing(telemetry or TelemetrySettings())


async def _run(stage: _Stage, url: str, command: EngineCommand | None) -> None:
    async with HttpUpstream(url, stage.settings.connect_timeout_s) as upstream:
        supervisor = Supervisor(command, upstream, stage.settings) if command else None
        seen = stage.tracing.around(upstream, url) if stage.tracing else upstream
        await _serve(stage, seen, url, supervisor)


async def _run_fleet(stage: _Stage, dispatcher: Dispatcher) -> None:
    timeout_s = stage.settings.connect_timeout_s
    fleet = stage.control.in_force.rules.fleet
    assert fleet is not None  # noqa: S101  (whoever has a dispatcher has that)
    connect: Connect = partial(HttpUpstream, connect_timeout_s=timeout_s)
    if stage.tracing:
        connect = stage.tracing.connecting(connect)
    async with FleetUpstream(
        dispatcher, fleet, connect, probe_timeout_s=timeout_s, registry=stage.registry
    ) as upstream:
        dispatcher.warm_up()
        stage.control.in_force.listen(upstream.apply)
        shown = " ".join(upstream.members.urls.values())
        await _serve(stage, upstream, shown, None, upstream.members)


async def _serve(
    stage: _Stage,
    upstream: Upstream,
    shown_engine: str,
    supervisor: Supervisor | None,
    members: Members | None = None,
) -> None:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.put_nowait, number)
    control = stage.control
    loop.add_signal_handler(signal.SIGHUP, control.reload)
    admin = Admin(control, members)
    stage.registry.register(ConfigReloads(control))
    watchers = [stage.tracing] if stage.tracing else []
    app = create_app(
        stage.settings, control.in_force, upstream, stage.registry, admin=admin, watchers=watchers
    )
    server = _Server(_uvicorn_config(stage.settings, app))
    serving = asyncio.create_task(server.serve([stage.listener]))
    watching = asyncio.create_task(control.watch())
    _collect_less()
    host, port = stage.listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening", url=f"http://{shown}:{port}", engine=shown_engine)
    engine = asyncio.create_task(supervisor.run()) if supervisor else None
    try:
        await _until_stopped(server, serving, engine, signals)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _collect_less() -> None:
    """Let collections of garbage pass over what is here by now, which stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)


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
        http=CorkedHttp,
        ws="none",  # else whoever asks for a web socket with a POST is never answered
        lifespan="off",
        log_config=None,
        access_log=logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO),
        # Nobody asks who the client is.
        proxy_headers=False,
        # The engine's own `server` and `date` are passed on.
        server_header=False,
        date_header=False,
        # Longer than clients keep idle connections, so that it is they who close.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
    )
