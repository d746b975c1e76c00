"""The upstream over HTTP/1.1, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from slosched_server.http_connection import Connection
from slosched_server.upstream import UpstreamAnswer, UpstreamError, UpstreamRequest, end_to_end

# Written here, or of no use to an engine that gets the body at once.
_OWN = frozenset({b"host", b"content-length", b"expect"})
_MAY_BE_REPEATED = frozenset({"GET", "HEAD"})

# Below the 5 s after which vLLM closes an idle connection: a POST that meets the closing end is
# lost, and must not be repeated.
_KEEP_ALIVE_S = 2.0


class HttpUpstream:
    """An engine behind a URL; use it as an async context manager.

    Connections are our own rather than an HTTP client's: headers go through as they are, and a
    request costs a third of what it does through one.

    Parameters
    ----------
    url
        Root of the server, without `/v1`.
    connect_timeout_s
        Seconds for connecting. There is no limit on how long generating takes.
    trust
        Whom to believe that they are the engine, by HTTPS; by default whom the system trusts.
    """

    def __init__(
        self, url: str, connect_timeout_s: float, trust: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._ssl = (trust or ssl.create_default_context()) if is_tls else None
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._ssl else 80)
        self._root = parts.path.rstrip("/")
        self._head = b"HTTP/1.1\r\nhost: %b\r\n" % parts.netloc.encode()
        self._timeout = connect_timeout_s
        self._open: set[Connection] | None = None
        self._idle: list[Connection] = []  # the one that was used last comes last
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._open = set()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._open or ()):
            connection.close()
        self._open = None
        self._idle.clear()
        await asyncio.sleep(0)  # in which they are closed

    def send(self, request: UpstreamRequest) -> "_Exchange":
        """Send a request and stream its answer; see `Upstream`."""
        return _Exchange(self, request)

    async def ask(self, request: UpstreamRequest) -> Connection:
        """Send a request, and return the connection on which its answer has begun.

        Raises
        ------
        UpstreamError
            If no answer begins.
        """
        written = self._written(request)
        while True:
            connection = self._kept() or await self._connected()
            try:
                await connection.ask(written, bare=request.method == "HEAD")
            except UpstreamError:
                if not connection.used or request.method not in _MAY_BE_REPEATED:
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def leave(self, connection: Connection) -> None:
        """Keep a connection for the next request if its answer has ended, else cut it."""
        if self._open is None or not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_KEEP_ALIVE_S, self._sweep, loop)

    def _kept(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and now - connection.idle_since < _KEEP_ALIVE_S:
                return connection
            connection.close()
        return None

    async def _connected(self) -> Connection:
        among = self._open
        if among is None:
            raise UpstreamError("closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(among), self._host, self._port, ssl=self._ssl
                )
        except TimeoutError as error:
            raise UpstreamError(f"no connection within {self._timeout:g} s") from error
        except OSError as error:
            raise UpstreamError(str(error) or type(error).__name__) from error
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close who was idle for too long."""
        oldest = loop.time() - _KEEP_ALIVE_S
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).close()
        again = self._idle
        self._sweeper = loop.call_later(_KEEP_ALIVE_S, self._sweep, loop) if again else None

    def _written(self, request: UpstreamRequest) -> bytes:
        lines = [
            b"%b: %b\r\n" % field
            for field in end_to_end(request.headers)
            if field[0].lower() not in _OWN
        ]
        body = request.payload()
        if body or request.method == "POST":
            lines.append(b"content-length: %d\r\n" % len(body))
        target = f"{request.method} {self._root}{request.target} ".encode()
        return b"%b%b%b\r\n%b" % (target, self._head, b"".join(lines), body)


class _Exchange:
    """One request, and its answer's body; after leaving, nothing is read any more."""

    def __init__(self, upstream: HttpUpstream, request: UpstreamRequest) -> None:
        self._upstream = upstream
        self._request = request
        self._connection: Connection | None = None

    async def __aenter__(self) -> UpstreamAnswer:
        connection = self._connection = await self._upstream.ask(self._request)
        return UpstreamAnswer(connection.status, end_to_end(connection.headers), self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._upstream.leave(connection)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = b"" if self._connection is None else await self._connection.read()
        if not data:
            raise StopAsyncIteration
        return data
