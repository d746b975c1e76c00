"""The seam between the front end and an engine: one request out, one streamed answer back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from slosched.core.errors import SloschedError
from slosched.core.slo import SloClass
from slosched.core.tags import Tag
from slosched_server.progress import Progress
from slosched_server.sizes import Size
from slosched_server.trace import UNTRACED, Trace

RawHeaders = Sequence[tuple[bytes, bytes]]

# RFC 9110, section 7.6.1: fields that are about one connection and not about the message.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class UpstreamError(SloschedError):
    """The engine could not be reached, or broke off before the end of its answer."""


@dataclass(slots=True)
class Job:
    """What a request is about, for whoever chooses among engines.

    Parameters
    ----------
    tag
        What it asks for, or is served as after a downgrade.
    size
        How large it is.
    progress
        How far its answer has come; each piece is counted by whoever reads it, before it asks for
        the next.
    write
        Writes the body for the engine under a tag.
    asked
        The class that it asked for, if it was downgraded; else "".
    headers
        Of the answer, in place of the engine's own.
    request_id
        By which clients, logs and engines know it.
    model
        That it names.
    trace
        Told of its way.
    """

    tag: Tag
    size: Size
    progress: Progress
    write: Callable[[Tag], bytes]
    asked: str = ""
    headers: RawHeaders = ()
    request_id: str = ""
    model: str = ""
    trace: Trace = UNTRACED

    def downgrade(self, instead: SloClass) -> None:
        """Make it one of another class, by whose limits it is served."""
        self.asked = self.asked or self.tag.slo_class
        self.tag = Tag(instead.name, instead.slo, self.tag.tenant)

    def body(self) -> bytes:
        """Return the body for the engine."""
        return self.write(self.tag)


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is sent to the engine: `target` is path and query, headers are end-to-end only.

    There is a `job` where the engine has to work on it, which then knows the body.
    """

    method: str
    target: str
    headers: RawHeaders = ()
    body: bytes = b""
    job: Job | None = None

    def payload(self) -> bytes:
        """Return the body to send now."""
        return self.body if self.job is None else self.job.body()


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """What comes back; reading `body` raises `UpstreamError` where the engine breaks off."""

    status: int
    headers: RawHeaders
    body: AsyncIterator[bytes]


class Upstream(Protocol):
    """Somewhere that requests are answered."""

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Send a request; leaving the context before the body's end aborts it there.

        Raises
        ------
        UpstreamError
            On entering, if no answer begins.
        """
        ...


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop the hop-by-hop fields, those that `Connection` names among them."""
    gone, kept = set[bytes](), []
    for field in headers:
        lower = field[0].lower()
        if lower not in HOP_BY_HOP:
            kept.append(field)
        elif lower == b"connection":
            gone.update(token.strip().lower() for token in field[1].split(b","))
    return [field for field in kept if field[0].lower() not in gone] if gone else kept


async def healthy(upstream: Upstream, timeout_s: float) -> bool:
    """Whether the engine answers 200 on `/health` within `timeout_s` seconds."""
    try:
        async with (
            asyncio.timeout(timeout_s),
            upstream.send(UpstreamRequest("GET", "/health")) as answer,
        ):
            return answer.status == 200
    except (UpstreamError, TimeoutError):
        return False
