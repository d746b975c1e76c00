"""The head of a request, as Envoy tells of it."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Value
from starlette.types import Scope

from slosched_server.picker.ext_proc_pb2 import (
    BUFFERED,
    FULL_DUPLEX_STREAMED,
    NONE,
    BodySendMode,
    HeaderMap,
    Metadata,
    ProcessingRequest,
)
from slosched_server.upstream import RawHeaders

SUBSET = ("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset")
_EVENTS = b"text/event-stream"
SERVED = ("envoy.lb", "x-gateway-destination-endpoint-served")


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before its body.

    Parameters
    ----------
    method, target
        Target is path and query.
    headers
        Without pseudo headers; names in lower case.
    ended
        Whether there is no body.
    request_mode, answer_mode
        How the gateway sends bodies.
    subset
        Endpoints (`ip:port`) that may get it; None for all.
    """

    method: str
    target: str
    headers: RawHeaders
    ended: bool
    request_mode: BodySendMode
    answer_mode: BodySendMode
    subset: AbstractSet[str] | None

    @classmethod
    def of(cls, message: ProcessingRequest) -> "Head":
        """Read the first message of an exchange."""
        head, fields = message.request_headers, list(raw(message.request_headers.headers))
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        return cls(
            pseudo.get(b":method", b"").decode("latin-1"),
            pseudo.get(b":path", b"").decode("latin-1"),
            [field for field in fields if not field[0].startswith(b":")],
            head.end_of_stream,
            *_modes(message),
            _subset(message.metadata_context),
        )

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def buffered(self) -> bool:
        """Whether the body comes whole once the head is answered, and not while that waits."""
        return self.request_mode == BUFFERED

    @property
    def shows_answer(self) -> bool:
        """Whether the bodies of answers are seen here, piece by piece."""
        return self.answer_mode != NONE

    @property
    def scope(self) -> Scope:
        """Say it as ASGI does, for whoever watches requests."""
        path = self.path
        return {"type": "http", "method": self.method, "path": path, "headers": self.headers}


def _modes(message: ProcessingRequest) -> tuple[BodySendMode, BodySendMode]:
    """Return how bodies of requests and of answers are sent: as the protocol has it by default."""
    if not message.HasField("protocol_config"):
        return FULL_DUPLEX_STREAMED, FULL_DUPLEX_STREAMED
    said = message.protocol_config
    return said.request_body_mode, said.response_body_mode


def raw(headers: HeaderMap) -> Iterator[tuple[bytes, bytes]]:
    """Return fields as bytes, whichever way Envoy says them."""
    for field in headers.headers:
        yield field.key.encode(), field.raw_value or field.value.encode()


def status_and_streams(headers: HeaderMap) -> tuple[int, bool]:
    """Return the status of an answer, 0 without any, and whether it comes event by event."""
    fields = dict(raw(headers))
    status = fields.get(b":status", b"")
    streams = fields.get(b"content-type", b"").startswith(_EVENTS)
    return int(status) if status.isdigit() else 0, streams


def said(metadata: Metadata, key: tuple[str, str]) -> Value | None:
    """Return what Envoy says under a namespace and a name; None if it says nothing."""
    namespace, name = key
    if namespace not in metadata.filter_metadata:
        return None
    return metadata.filter_metadata[namespace].fields.get(name)


def _subset(metadata: Metadata) -> AbstractSet[str] | None:
    value = said(metadata, SUBSET)
    if value is None:
        return None
    if value.HasField("string_value"):
        return frozenset(one.strip() for one in value.string_value.split(",") if one.strip())
    return frozenset(one.string_value for one in value.list_value.values)
