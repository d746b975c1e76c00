"""A gRPC server: it listens, and comes to an end."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from functools import partial

from slosched_server.listen import notice_lost
from slosched_server.picker.grpc_connection import GrpcConnection, Method

_HEADROOM = 64 * 1024  # of a message beyond the body in it
_LOST_S = 15  # of silence, after which a gateway's machine is gone, with whoever it asked for


class GrpcServer:
    """Serves methods to whoever connects; to be closed.

    Parameters
    ----------
    methods
        By path: `/package.Service/Method`.
    body_bytes
        Of the largest body that a message may hold.
    """

    def __init__(self, methods: Mapping[bytes, Method], body_bytes: int = 0) -> None:
        self._connections: set[GrpcConnection] = set()
        self._protocol = partial(GrpcConnection, methods, body_bytes + _HEADROOM, self._connections)
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Begin to serve."""
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        notice_lost(listener, _LOST_S)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=listener, ssl=tls)

    def close(self) -> None:
        """Listen no more, and hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
