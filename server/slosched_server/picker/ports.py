"""The ports of a picker: for Envoy, for health checks, and for people and Prometheus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from slosched_server.connections import Connections
from slosched_server.listen import listen
from slosched_server.picker.desk import Desk
from slosched_server.picker.grpc_server import GrpcServer
from slosched_server.picker.health import Health
from slosched_server.picker.place import Place
from slosched_server.picker.service import health_methods, picker_methods
from slosched_server.serving import HttpServer
from slosched_server.settings import ServerSettings
from slosched_server.signals import StopSignals
from slosched_server.tls import server_context

log = structlog.get_logger()

_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Ports:
    """Servers that listen, and where."""

    picker: int
    health: int
    status: int
    desk: Desk
    settings: ServerSettings

    async def drain(self, signals: StopSignals) -> None:
        """Let exchanges come to their end, for as long as they may, or until told once more."""
        # Whoever balances between pickers is to see first that this one is not to be asked.
        await asyncio.sleep(self.settings.drain_delay_s)
        over = asyncio.create_task(self._over())
        hurried = asyncio.create_task(signals.again())
        patience = self.settings.drain_timeout_s
        await asyncio.wait({over, hurried}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if self.desk.busy:
            log.warning("requests are left without a picker", requests=self.desk.busy)
        for task in (over, hurried):
            task.cancel()

    async def _over(self) -> None:
        while self.desk.busy:  # noqa: ASYNC110 - it is over when the last byte is out
            await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def opened(
    place: Place,
    settings: ServerSettings,
    desk: Desk,
    health: Health,
    app: FastAPI,
    registry: CollectorRegistry,
) -> AsyncIterator[Ports]:
    """Listen on all ports.

    Raises
    ------
    PortError
        If one is taken, or not ours to take.
    ConfigError
        If the certificate for Envoy does not fit.
    """
    tls = server_context(settings)
    async with AsyncExitStack() as stack:
        numbers = (place.port, place.health_port, place.metrics_port)
        listeners = [stack.enter_context(closing(listen(place.host, number))) for number in numbers]
        picker = GrpcServer(picker_methods(desk, health), settings.max_body_bytes)
        checks = GrpcServer(health_methods(health))
        status = HttpServer(app, Connections(settings, app.state.stopping, registry))
        await picker.start(listeners[0], tls)
        await checks.start(listeners[1])
        serving = asyncio.create_task(status.serve([listeners[2]]))
        try:
            ports = [listener.getsockname()[1] for listener in listeners]
            yield Ports(ports[0], ports[1], ports[2], desk, settings)
        finally:
            picker.close()
            checks.close()
            app.state.stopping.set()
            status.should_exit = True
            await serving
