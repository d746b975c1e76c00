"""The upstream over HTTP/1.1, byte for byte."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from slosched_server.upstream import (
    RawHeaders,
    UpstreamAnswer,
    UpstreamError,
    UpstreamRequest,
    end_to_end,
)

# The HTTP client writes these two itself, and would add the others where the client sent none.
_OWN = frozenset({b"host", b"content-length", b"expect"})
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

# Below the 5 s after which vLLM closes an idle connection: a POST that meets the closing end is
# lost, and must not be repeated.
_KEEP_ALIVE_S = 2.0


class HttpUpstream:
    """An engine behind a URL; use it as an async context manager.

    Parameters
    ----------
    url
        Root of the server, without `/v1`.
    connect_timeout_s
        Seconds for connecting. There is no limit on how long generating takes.
    """

    def __init__(self, url: str, connect_timeout_s: float) -> None:
        self._root = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            timeout=self._timeout,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        """Send a request and stream its answer; see `Upstream`."""
        if self._session is None:
            raise UpstreamError("closed")
        try:
            response = await self._session.request(
                request.method,
                URL(self._root + request.target, encoded=True),
                data=request.payload() or None,
                headers=_outgoing(request.headers),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(_reason(error)) from error
        try:
            headers = end_to_end(response.raw_headers)
            yield UpstreamAnswer(response.status, headers, _chunks(response))
        finally:
            # Frees the connection where the body was read to its end, and else cuts it, which is
            # how vLLM learns that it can stop generating.
            response.close() if not response.content.is_eof() else response.release()


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError(_reason(error)) from error


def _outgoing(headers: RawHeaders) -> CIMultiDict[str]:
    return CIMultiDict(
        (name.decode("ascii"), value.decode())
        for name, value in end_to_end(headers)
        if name.lower() not in _OWN
    )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
