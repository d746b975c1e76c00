"""One connection to an engine: HTTP/1.1, one request and one answer at a time."""

import asyncio

import httptools

from slosched_server.upstream import UpstreamError

_HIGH_WATER = 32 * 1024  # bytes of an answer that wait for a slow client before reading pauses
_FRAMED = frozenset({b"content-length", b"transfer-encoding"})


class Connection(asyncio.Protocol):
    """What was said of the answer so far; `httptools` calls the methods that begin with `on_`.

    Parameters
    ----------
    among
        The connections that are open, of which it is one until it is lost.

    Attributes
    ----------
    used
        Whether it has been asked before: then the engine may be about to close it.
    idle_since
        When its last answer ended, in seconds of the loop's clock.
    status
        Of the newest answer, 0 until its head is whole.
    headers
        Of that head, as they were written.
    """

    def __init__(self, among: "set[Connection]") -> None:
        self._among = among
        self.used = False
        self.idle_since = 0.0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._news: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in them
        self._paused = False
        self._bare = False  # there is no body, whatever the head says
        self._whole = True
        self._keeps = True  # so does the engine, by what it says
        self._lost = ""  # why nothing comes any more

    # -- what it is used for -------------------------------------------------------------------

    async def ask(self, request: bytes, *, bare: bool) -> None:
        """Send a request, and wait for the head of its answer.

        Raises
        ------
        UpstreamError
            If none comes.
        """
        self.status, self.headers = 0, []
        self._whole, self._keeps, self._bare = False, False, bare
        self._transport.write(request)
        while not self.status:
            await self._more()
        self.used = True

    async def read(self) -> bytes:
        """Return what came of the body since, once there is anything; nothing after its end.

        Raises
        ------
        UpstreamError
            If its end does not come.
        """
        while not self._pieces:
            if self._whole:
                return b""
            await self._more()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def reusable(self) -> bool:
        """Whether it can be asked again."""
        return self._whole and self._keeps and not self._lost and not self._pieces

    def close(self) -> None:
        """Cut it, which is how vLLM learns that it can stop generating."""
        self._transport.abort()

    def _more(self) -> asyncio.Future[None]:
        if self._lost:
            raise UpstreamError(self._lost)
        self._news = self._loop.create_future()
        return self._news

    # -- what the loop tells -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._among.add(self)
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read what the engine writes."""
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(f"no HTTP answer: {error}")
            self._transport.abort()
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        """Take what came for the whole answer, if that is how it ends."""
        self._among.discard(self)
        if error is None and self.status and not self._whole:
            self._whole = _FRAMED.isdisjoint(name.lower() for name, _ in self.headers)
        self._end(str(error) if error else "the engine closed the connection")
        self._tell()

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        self._parser = None  # they know each other, which would need a collection of garbage

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    # -- what the parser tells -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for."""
        if self._whole:
            raise UpstreamError("unasked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field, unless it is a trailer."""
        if not self.status:
            self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Let the head be known, unless it only says that another one will come."""
        status = 0 if self._parser is None else self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status, self._whole = status, self._bare

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held > _HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Let the end be known."""
        if self.status and self._parser is not None and not self._bare:
            self._whole, self._keeps = True, self._parser.should_keep_alive()
