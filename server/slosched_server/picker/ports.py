"""The ports of a picker: for Envoy, for health checks, and for people and Prometheus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from slosched_server.connections import Connections
from slosched_server.listen import PortError, free_port, listen
from slosched_server.picker.desk import Desk
from slosched_server.picker.place import Place
from slosched_server.picker.service import Health, health_server, picker_server
from slosched_server.serving import HttpServer
from slosched_server.settings import ServerSettings
from slosched_server.signals import StopSignals
from slosched_server.tls import server_context

log = structlog.get_logger()

_CUT_OFF_S = 0.1


@dataclass(frozen=True, slots=True)
class Ports:
    """Servers that listen, and where."""

    picker: int
    health: int
    status: int
    desk: Desk
    settings: ServerSettings
    _servers: tuple[grpc.aio.Server, grpc.aio.Server]

    async def drain(self, signals: StopSignals) -> None:
        """Let exchanges come to their end, for as long as they may, or until told once more."""
        # Whoever balances between pickers is to see first that this one is not to be asked.
        await asyncio.sleep(self.settings.drain_delay_s)
        over = asyncio.create_task(self._end(self.settings.drain_timeout_s))
        hurried = asyncio.create_task(signals.again())
        await asyncio.wait({over, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done():
            await self._end(_CUT_OFF_S)
        hurried.cancel()
        await over

    async def _end(self, grace_s: float) -> None:
        picker, checks = self._servers
        busy = self.desk.busy
        await picker.stop(grace_s)
        if busy and self.desk.busy:
            log.warning("time to drain is over", cut_off=self.desk.busy)
        await checks.stop(_CUT_OFF_S)


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
    credentials = _credentials(settings)
    picker, checks = picker_server(desk, health), health_server(health)
    with closing(listen(place.host, place.metrics_port)) as listener:
        port = _bind(picker, place.host, place.port, credentials)
        health_port = _bind(checks, place.host, place.health_port, None)
        status = HttpServer(app, Connections(settings, app.state.stopping, registry))
        serving = asyncio.create_task(status.serve([listener]))
        await picker.start()
        await checks.start()
        status_port: int = listener.getsockname()[1]
        try:
            yield Ports(port, health_port, status_port, desk, settings, (picker, checks))
        finally:
            app.state.stopping.set()
            await picker.stop(None)
            await checks.stop(None)
            status.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving


def _bind(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    free_port(host, port)  # says why not, which gRPC does not
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, credentials)
    except RuntimeError as error:
        raise PortError(f"cannot listen on {where}: {error}") from error


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Load the certificate by which Envoy knows the picker; None for plain text."""
    if server_context(settings) is None:  # says what is wrong with a file
        return None
    certificate = Path(str(settings.ssl_certfile)).read_bytes()
    key = Path(settings.ssl_keyfile or str(settings.ssl_certfile)).read_bytes()
    authorities = settings.ssl_ca_certs and Path(settings.ssl_ca_certs).read_bytes()
    return grpc.ssl_server_credentials(
        [(key, certificate)], authorities or None, require_client_auth=bool(authorities)
    )
