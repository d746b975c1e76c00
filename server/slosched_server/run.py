"""Running the front end until it is told to stop, alone or with an engine behind it."""

import asyncio
import signal
import socket
import ssl
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.admin import Admin
from slosched_server.app import create_app
from slosched_server.child import EngineCommand
from slosched_server.config_reloads import ConfigReloads
from slosched_server.connections import Connections
from slosched_server.control import Control
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.dashboard.hindsight import rehearse
from slosched_server.descriptors import make_room
from slosched_server.edits import edits_file
from slosched_server.fleet import Fleet
from slosched_server.fleet_upstream import FleetUpstream
from slosched_server.garbage import collect_less
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import listen
from slosched_server.members import Connect, Members
from slosched_server.notify import notify
from slosched_server.rules import RulesSource
from slosched_server.serving import HttpServer
from slosched_server.settings import ServerSettings
from slosched_server.signals import StopSignals
from slosched_server.supervisor import Supervisor
from slosched_server.telemetry import TelemetrySettings, tracing
from slosched_server.tls import server_context
from slosched_server.upstream import Upstream

if TYPE_CHECKING:
    from slosched_server.tracing import Tracing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is served, and where, and where it is measured."""

    settings: ServerSettings
    control: Control
    listener: socket.socket
    tls: ssl.SSLContext | None
    trust: ssl.SSLContext | None = None
    tracing: "Tracing | None" = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def run_gateway(
    settings: ServerSettings,
    source: RulesSource,
    upstream_url: str,
    trust: ssl.SSLContext | None = None,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Serve before an engine that runs already, until SIGINT or SIGTERM.

    Parameters
    ----------
    trust
        Whom to believe that they are the engine, by HTTPS; by default whom the system trusts.
    telemetry
        Where traces go; nowhere by default.

    Raises
    ------
    SloschedError
        If the configuration does not fit.
    PortError
        If the port cannot be listened on.
    """
    control, tls = Control(source), server_context(settings)
    with closing(listen(settings.host, settings.port)) as listener, _traced(telemetry) as traces:
        stage = _Stage(settings, control, listener, tls, trust, traces)
        uvloop.run(_run(stage, upstream_url, None))


def run_fleet(
    settings: ServerSettings,
    source: RulesSource,
    dispatcher: Dispatcher,
    trust: ssl.SSLContext | None = None,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Serve before many engines that run already, until SIGINT or SIGTERM; raises as `run_gateway`.

    Parameters
    ----------
    dispatcher
        Without replicas: these are in the rules.
    trust, telemetry
        As of `run_gateway`.
    """
    control, tls = Control(source), server_context(settings)
    with closing(listen(settings.host, settings.port)) as listener, _traced(telemetry) as traces:
        stage = _Stage(settings, control, listener, tls, trust, traces)
        uvloop.run(_run_fleet(stage, dispatcher))


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
    with (
        edits_file() as edits,
        closing(listen(settings.host, settings.port)) as listener,
        _traced(telemetry) as traces,
    ):
        control, tls = Control(source, edits.write), server_context(settings)
        command = replace(command, environment={**command.environment, **edits.environment})
        stage = _Stage(settings, control, listener, tls, None, traces)
        uvloop.run(_run(stage, engine_url, command))


def _traced(telemetry: TelemetrySettings | None) -> AbstractContextManager["Tracing | None"]:
    return tracing(telemetry or TelemetrySettings())


async def _run(stage: _Stage, url: str, command: EngineCommand | None) -> None:
    async with HttpUpstream(url, stage.settings.connect_timeout_s, stage.trust) as upstream:
        supervisor = Supervisor(command, upstream, stage.settings) if command else None
        seen = stage.tracing.around(upstream, url) if stage.tracing else upstream
        await _serve(stage, seen, url, supervisor)


async def _run_fleet(stage: _Stage, dispatcher: Dispatcher) -> None:
    timeout_s = stage.settings.connect_timeout_s
    rules = stage.control.in_force.rules.fleet
    assert rules is not None  # noqa: S101  (whoever has a dispatcher has that)
    connect: Connect = partial(HttpUpstream, connect_timeout_s=timeout_s, trust=stage.trust)
    if stage.tracing:
        connect = stage.tracing.connecting(connect)
    async with Fleet(
        dispatcher, rules, connect, probe_timeout_s=timeout_s, registry=stage.registry
    ) as fleet:
        dispatcher.warm_up()
        if rules.replay is not None:
            rehearse(rules.replay)
        stage.control.in_force.listen(fleet.apply)
        shown = " ".join(fleet.members.urls.values())
        dashboard = Dashboard(stage.control.in_force, dispatcher)
        await _serve(stage, FleetUpstream(fleet), shown, None, fleet.members, dashboard)


async def _serve(
    stage: _Stage,
    upstream: Upstream,
    shown_engine: str,
    supervisor: Supervisor | None,
    members: Members | None = None,
    dashboard: Dashboard | None = None,
) -> None:
    signals, control = StopSignals(), stage.control
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, control.reload)
    admin, dashboard = Admin(control, members), dashboard or Dashboard(control.in_force)
    stage.registry.register(ConfigReloads(control))
    app = create_app(
        stage.settings,
        control.in_force,
        upstream,
        stage.registry,
        admin=admin,
        dashboard=dashboard,
        watchers=[stage.tracing] if stage.tracing else [],
    )
    room = make_room(stage.settings.max_connections)
    limits = replace(stage.settings, max_connections=room)
    connections = Connections(limits, app.state.stopping, stage.registry)
    server = HttpServer(app, connections, stage.tls)
    serving = asyncio.create_task(server.serve([stage.listener]))
    watching = asyncio.create_task(control.watch())
    collect_less()
    log.info("listening", url=_url(stage), engine=shown_engine)
    notify("READY=1")
    engine = asyncio.create_task(supervisor.run()) if supervisor else None
    try:
        await _until_stopped(server, serving, engine, signals, dashboard)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _until_stopped(
    server: HttpServer,
    serving: asyncio.Task[None],
    engine: asyncio.Task[Any] | None,
    signals: StopSignals,
    dashboard: Dashboard,
) -> None:
    """Wait for a signal, or for the engine's end; then drain, and only then end the engine."""
    told = asyncio.create_task(signals.first())
    running = {told, serving} | ({engine} if engine else set())
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    if told.done():
        log.info("stopping, requests in flight may finish")
    told.cancel()
    dashboard.close()
    draining = asyncio.create_task(server.drain())
    hurry = asyncio.create_task(_hurry(server, draining, engine, signals))
    try:
        await serving
    finally:
        draining.cancel()
        if engine:
            await _end(engine)
        hurry.cancel()


async def _hurry(
    server: HttpServer,
    draining: asyncio.Task[None],
    engine: asyncio.Task[Any] | None,
    signals: StopSignals,
) -> None:
    await signals.again()
    server.force_exit = True
    draining.cancel()
    if engine:
        engine.cancel()


async def _end(engine: asyncio.Task[Any]) -> None:
    engine.cancel()
    await asyncio.wait({engine})
    if not engine.cancelled():
        engine.result()


def _url(stage: _Stage) -> str:
    host, port = stage.listener.getsockname()[:2]
    scheme = "https" if stage.tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
