"""The HTTP server: how it begins to listen, and how it comes to its end."""

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from socket import socket

import structlog
import uvicorn
from starlette.types import ASGIApp

from slosched_server.connection import Connection
from slosched_server.connections import Connections

log = structlog.get_logger()

_LOOK_EVERY_S = 0.05
_TICKS_A_SECOND = 10  # of uvicorn's main loop
_FLUSH_S = 1  # for what is written but has not left when the time to drain is over


class HttpServer(uvicorn.Server):
    """Serves an application until it is drained.

    Parameters
    ----------
    app
        What is served.
    connections
        Its clients.
    tls
        For HTTPS.
    """

    def __init__(
        self, app: ASGIApp, connections: Connections, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
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
                timeout_graceful_shutdown=_FLUSH_S,
            )
        )
        self._connections, self._tls = connections, tls

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: the engine has to be stopped after the last request."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen; who does not finish a TLS handshake is cut off as who sends no head."""
        loop = asyncio.get_running_loop()
        state = {"config": self.config, "server_state": self.server_state, "app_state": {}}
        protocol = partial(Connection, self._connections, **state)
        patience = self._connections.settings.client_timeout_s, _FLUSH_S
        handshake_s, shutdown_s = patience if self._tls else (None, None)
        self.servers = [
            await loop.create_server(
                protocol,
                sock=one,
                ssl=self._tls,
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=shutdown_s,
            )
            for one in sockets or ()
        ]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Look after the clients each second."""
        if counter % _TICKS_A_SECOND == 0:
            self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def drain(self) -> None:
        """Let requests finish, begin no more, and end."""
        connections, settings = self._connections, self._connections.settings
        connections.stop()
        try:
            # 1. Balancers see that it is not ready, and what still comes is served.
            await asyncio.sleep(settings.drain_delay_s)

            # 2. Nobody else can come; who is connected gets no more work done.
            connections.refuses = True
            for server in self.servers:
                server.close()

            # 3. What is being done, and what waits, comes to its end.
            async with asyncio.timeout(settings.drain_timeout_s):
                while connections.busy:  # noqa: ASYNC110 - it is over when the last byte is out
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            log.warning("time to drain is over", cut_off=connections.busy)
        finally:
            self.should_exit = True
