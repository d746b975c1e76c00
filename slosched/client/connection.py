"""Requests over HTTP, answers as they stream; whatever goes wrong is noted, not raised."""

import asyncio
import errno
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from slosched.client.answer import DISCONNECTED, UNFINISHED, UNREACHABLE, Answer
from slosched.client.chunk import DONE, BrokenStreamError, read_chunk
from slosched.client.sse import Events
from slosched.core.errors import ServerError

_CONNECT_S = 30.0
_SHOWN = 200
# Files, or ports, that this machine has no more of: no fault of the server's.
_OUR_OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready to be sent.

    Parameters
    ----------
    path
        `/v1/completions` or `/v1/chat/completions`.
    body
        JSON that asks for a stream.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]


class Connection:
    """A server behind a URL; use it as an async context manager.

    Parameters
    ----------
    url
        Root of the server, without `/v1`.
    api_key
        Goes as a bearer token, if there is one.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        _allow_many_connections()
        self._session = aiohttp.ClientSession(
            # A connection each, as of so many users: servers close idle ones just when the next
            # request comes.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.close()

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        """Send a request and fill in its answer as it streams.

        Cancelled, it hangs up, which is how vLLM learns that it can stop generating.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        headers = {"content-type": "application/json", **call.headers}
        answer.sent = monotonic()
        try:
            async with self._open.post(
                self.url + call.path, data=call.body, headers=headers, timeout=timeout
            ) as response:
                if response.status == 200:
                    await _read(response, answer)
                else:
                    answer.fail(str(response.status), _message(await response.read()))
        except BrokenStreamError as error:
            answer.fail(error.kind, str(error))
        except asyncio.CancelledError:
            answer.fail(UNFINISHED)
            raise
        except TimeoutError:
            answer.fail("timeout", f"not answered within {timeout_s} s")
        except aiohttp.ClientConnectorError as error:
            ours = error.os_error.errno in _OUR_OWN_LIMITS
            answer.fail("client" if ours else UNREACHABLE, str(error))
        except (aiohttp.ClientError, OSError) as error:
            answer.fail(DISCONNECTED, str(error) or type(error).__name__)
        finally:
            answer.over = True

    async def get(self, path: str, timeout_s: float = 5.0) -> bytes:
        """Fetch a page.

        Raises
        ------
        ServerError
            If there is nobody, or the answer is not 200.
        """
        return await self._fetch("GET", path, None, timeout_s)

    async def post(self, path: str, body: object, timeout_s: float = 30.0) -> Any:  # noqa: ANN401 - JSON of any shape
        """Send JSON and return the JSON that comes back; ServerError as of `get`."""
        try:
            return orjson.loads(await self._fetch("POST", path, orjson.dumps(body), timeout_s))
        except orjson.JSONDecodeError as error:
            raise ServerError(f"{self.url}{path}: answered no JSON") from error

    async def _fetch(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes:
        url, headers = self.url + path, {"content-type": "application/json"} if body else {}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._open.request(
                method, url, data=body, headers=headers, timeout=timeout
            ) as response:
                content = await response.read()
                if response.status != 200:
                    raise ServerError(f"{url}: {response.status}: {_message(content)}")
                return content
        except TimeoutError as error:
            raise ServerError(f"{url}: no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServerError(f"{url}: {str(error) or type(error).__name__}") from error

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a Connection is used within `async with`")
        return self._session


async def _read(response: aiohttp.ClientResponse, answer: Answer) -> None:
    events, done = Events(), False
    async for piece in response.content.iter_any():
        for payload in events.feed(piece):
            if payload == DONE:
                done = True
            else:
                answer.take(read_chunk(payload))
    if not done and not answer.finish_reason:
        raise BrokenStreamError(DISCONNECTED, "the answer was cut off")
    if not answer.tokens:
        raise BrokenStreamError("empty", "the answer has no token")


def _message(content: bytes) -> str:
    """Take the message out of an error as OpenAI's servers write it."""
    try:
        fields = orjson.loads(content)
        return str(fields["error"]["message"])[:_SHOWN]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return content[:_SHOWN].decode(errors="replace").strip()


def _allow_many_connections() -> None:
    """Raise the limit on open files as far as it goes: an overloaded server leaves many open."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
