"""Running the picker until it is told to stop."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.access_log import AccessLog
from slosched_server.admin import Admin
from slosched_server.config_reloads import ConfigReloads
from slosched_server.control import Control
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.dashboard.hindsight import rehearse
from slosched_server.fleet import Fleet
from slosched_server.garbage import collect_less
from slosched_server.http_upstream import HttpUpstream
from slosched_server.members import Connect
from slosched_server.metrics import Metrics
from slosched_server.notify import notify
from slosched_server.picker.desk import Desk
from slosched_server.picker.health import Health
from slosched_server.picker.membership import membership
from slosched_server.picker.place import Place
from slosched_server.picker.ports import opened
from slosched_server.picker.role import Role
from slosched_server.rules import RulesSource
from slosched_server.settings import ServerSettings
from slosched_server.signals import StopSignals
from slosched_server.status_app import status_app
from slosched_server.telemetry import TelemetrySettings, tracing
from slosched_server.watcher import Watchers

if TYPE_CHECKING:
    from slosched_server.tracing import Tracing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is served, and where, and where it is measured."""

    settings: ServerSettings
    control: Control
    place: Place
    trust: ssl.SSLContext | None
    tracing: "Tracing | None"
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def run_picker(
    settings: ServerSettings,
    source: RulesSource,
    dispatcher: Dispatcher,
    place: Place,
    trust: ssl.SSLContext | None = None,
    telemetry: TelemetrySettings | None = None,
) -> None:
    """Tell Envoy where requests go, until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        Timeouts, limits, and the certificate by which Envoy knows the picker.
    source
        The configuration.
    dispatcher
        Without replicas: these are in the rules, or in the cluster.
    place
        The ports, and the cluster if there is one.
    trust
        Whom to believe that they are the replicas, by HTTPS; by default whom the system trusts.
    telemetry
        Where traces go; nowhere by default.

    Raises
    ------
    SloschedError
        If the configuration does not fit, or the cluster cannot be found.
    PortError
        If a port cannot be listened on.
    """
    control = Control(source)
    with tracing(telemetry or TelemetrySettings()) as traces:
        stage = _Stage(settings, control, place, trust, traces)
        uvloop.run(_run(stage, dispatcher))


async def _run(stage: _Stage, dispatcher: Dispatcher) -> None:
    signals, control, settings = StopSignals(), stage.control, stage.settings
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, control.reload)
    async with _fleet(stage, dispatcher) as fleet:
        metrics, dashboard = Metrics(stage.registry), Dashboard(control.in_force, dispatcher)
        told = [metrics, dashboard.recent, *([AccessLog()] if settings.access_log else ())]
        watcher = Watchers([*told, *([stage.tracing] if stage.tracing else ())])
        desk = Desk(fleet, control.in_force, watcher, settings.max_body_bytes)
        health, cluster = Health(), stage.place.cluster
        role = Role(desk, health, leads=not (cluster and cluster.identity), knows=cluster is None)
        admin = Admin(control, fleet.members)
        app = status_app(control.in_force, metrics, role.ready, admin, dashboard)
        async with opened(stage.place, settings, desk, health, app, stage.registry) as ports:
            async with _kept(stage, fleet, role) as keeping:
                collect_less()
                log.info("listening", envoy=ports.picker, health=ports.health, http=ports.status)
                notify("READY=1")
                await _until_stopped(signals, keeping)
                dashboard.close()
                role.lead(leads=False)
            await ports.drain(signals)
        _raise_what_ended(keeping)


async def _until_stopped(signals: StopSignals, keeping: Collection[asyncio.Task[None]]) -> None:
    stop = asyncio.create_task(signals.first())
    await asyncio.wait({stop, *keeping}, return_when=asyncio.FIRST_COMPLETED)
    notify("STOPPING=1")
    if stop.done():
        log.info("stopping, requests in flight may finish")
    stop.cancel()


def _raise_what_ended(keeping: Collection[asyncio.Task[None]]) -> None:
    for task in keeping:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


@asynccontextmanager
async def _fleet(stage: _Stage, dispatcher: Dispatcher) -> AsyncIterator[Fleet]:
    """Open the queue, with solvers that are compiled."""
    timeout_s, source = stage.settings.connect_timeout_s, stage.control.source
    rules = stage.control.in_force.rules.fleet
    assert rules is not None  # noqa: S101  (whoever has a dispatcher has that)
    connect: Connect = partial(HttpUpstream, connect_timeout_s=timeout_s, trust=stage.trust)
    async with Fleet(
        dispatcher, rules, connect, probe_timeout_s=timeout_s, registry=stage.registry
    ) as fleet:
        dispatcher.warm_up([source.member({"url": "http://127.0.0.1:1"}).replica])
        if rules.replay is not None:
            rehearse(rules.replay)
        stage.control.in_force.listen(fleet.apply)
        stage.registry.register(ConfigReloads(stage.control))
        yield fleet


@asynccontextmanager
async def _kept(
    stage: _Stage, fleet: Fleet, role: Role
) -> AsyncIterator[Collection[asyncio.Task[None]]]:
    """Keep configuration, cluster and role as they are; gives the tasks that do."""
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(one) for one in (role.watch(), stage.control.watch())]
        if stage.place.cluster is not None:
            tasks.append(
                await stack.enter_async_context(
                    membership(
                        stage.place.cluster, fleet.members, stage.control, role, stage.registry
                    )
                )
            )
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
