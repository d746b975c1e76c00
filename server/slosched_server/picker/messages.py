"""What the picker says to Envoy."""

from collections.abc import Iterator, Sequence
from typing import Any

from slosched_server.errors import ApiError
from slosched_server.picker.ext_proc_pb2 import (
    OVERWRITE_IF_EXISTS_OR_ADD,
    BodyResponse,
    HeadersResponse,
    ProcessingResponse,
    TrailersResponse,
)
from slosched_server.upstream import RawHeaders

DESTINATION = "x-gateway-destination-endpoint"
_METADATA = "envoy.lb"
_CHUNK = 60 * 1024  # Envoy takes less than 64 KiB at once

# What passes as it is.
HEAD = ProcessingResponse(request_headers=HeadersResponse())
BODY = ProcessingResponse(request_body=BodyResponse())
TRAILERS = ProcessingResponse(request_trailers=TrailersResponse())
ANSWER_BODY = ProcessingResponse(response_body=BodyResponse())
ANSWER_TRAILERS = ProcessingResponse(response_trailers=TrailersResponse())


def sent_to(
    endpoints: str, headers: RawHeaders = (), without: Sequence[str] = ()
) -> ProcessingResponse:
    """Say where a request goes: the endpoint, and those to try if it fails.

    Parameters
    ----------
    endpoints
        `ip:port`, separated by commas.
    headers, without
        That the request is to have, and not to have.
    """
    return ProcessingResponse(
        request_headers={"response": _sent_to(endpoints, headers, without)},
        dynamic_metadata=_metadata(endpoints),
    )


def whole_body(
    endpoints: str, headers: RawHeaders, without: Sequence[str], body: bytes
) -> ProcessingResponse:
    """Say where a request goes whose body Envoy has sent whole, and with which one."""
    change = _sent_to(endpoints, headers, without)
    return ProcessingResponse(
        request_body={"response": {**change, "body_mutation": {"body": body}}},
        dynamic_metadata=_metadata(endpoints),
    )


def request_body(body: bytes, *, last: bool = True) -> Iterator[ProcessingResponse]:
    """Send a request's body on."""
    for chunk, ends in _chunks(body, last=last):
        yield ProcessingResponse(request_body=_streamed(chunk, ends=ends))


def answer_head(headers: RawHeaders = ()) -> ProcessingResponse:
    """Let the head of an answer pass, with some headers in place of the engine's own."""
    change = {"header_mutation": _mutation(headers)} if headers else None
    return ProcessingResponse(response_headers={"response": change})


def answer_body(body: bytes, *, last: bool) -> Iterator[ProcessingResponse]:
    """Send a piece of an answer on."""
    for chunk, ends in _chunks(body, last=last):
        yield ProcessingResponse(response_body=_streamed(chunk, ends=ends))


def instead(error: ApiError, headers: RawHeaders = ()) -> ProcessingResponse:
    """Answer a request with an error, in place of any engine."""
    own = ((b"content-type", b"application/json"), *error.headers, *headers)
    return ProcessingResponse(
        immediate_response={
            "status": {"code": error.status},
            "headers": _mutation(own),
            "body": error.body(),
            "details": "slosched",
        }
    )


# Parts are dicts, of which protobuf makes messages at once: messages within messages, each copied
# into the next, take three times as long.
_Part = dict[str, Any]


def _sent_to(endpoints: str, headers: RawHeaders, without: Sequence[str]) -> _Part:
    every = ((DESTINATION.encode(), endpoints.encode()), *headers)
    return {"header_mutation": _mutation(every, without), "clear_route_cache": True}


def _metadata(endpoints: str) -> _Part:
    return {_METADATA: {DESTINATION: endpoints}}


def _mutation(headers: RawHeaders, without: Sequence[str] = ()) -> _Part:
    options = [
        {
            "header": {"key": name.decode("latin-1"), "raw_value": value},
            "append_action": OVERWRITE_IF_EXISTS_OR_ADD,
        }
        for name, value in headers
    ]
    return {"set_headers": options, "remove_headers": without}


def _streamed(chunk: bytes, *, ends: bool) -> _Part:
    piece = {"body": chunk, "end_of_stream": ends}
    return {"response": {"body_mutation": {"streamed_response": piece}}}


def _chunks(body: bytes, *, last: bool) -> Iterator[tuple[bytes, bool]]:
    """Cut a body into pieces; there is one at least, and the last may end it."""
    starts = range(0, max(len(body), 1), _CHUNK)
    for start in starts:
        yield body[start : start + _CHUNK], last and start == starts[-1]
