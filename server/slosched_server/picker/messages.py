"""What the picker says to Envoy."""

from collections.abc import Iterator, Sequence

from google.protobuf.struct_pb2 import Struct, Value

from slosched_server.errors import ApiError
from slosched_server.picker.ext_proc_pb2 import (
    OVERWRITE_IF_EXISTS_OR_ADD,
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HeaderValue,
    HeaderValueOption,
    HttpStatus,
    ImmediateResponse,
    ProcessingResponse,
    StreamedBodyResponse,
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
    found = Value(string_value=endpoints)
    metadata = Struct(fields={_METADATA: Value(struct_value=Struct(fields={DESTINATION: found}))})
    every = [(DESTINATION.encode(), endpoints.encode()), *headers]
    change = CommonResponse(header_mutation=_mutation(every, without), clear_route_cache=True)
    return ProcessingResponse(
        request_headers=HeadersResponse(response=change), dynamic_metadata=metadata
    )


def whole_body(
    endpoints: str, headers: RawHeaders, without: Sequence[str], body: bytes
) -> ProcessingResponse:
    """Say where a request goes whose body Envoy has sent whole, and with which one."""
    said = sent_to(endpoints, headers, without)
    change = said.request_headers.response
    change.body_mutation.body = body
    return ProcessingResponse(
        request_body=BodyResponse(response=change), dynamic_metadata=said.dynamic_metadata
    )


def request_body(body: bytes, *, last: bool = True) -> Iterator[ProcessingResponse]:
    """Send a request's body on."""
    for chunk, ends in _chunks(body, last=last):
        yield ProcessingResponse(request_body=_streamed(chunk, ends=ends))


def answer_head(headers: RawHeaders = ()) -> ProcessingResponse:
    """Let the head of an answer pass, with some headers in place of the engine's own."""
    change = CommonResponse(header_mutation=_mutation(headers)) if headers else None
    return ProcessingResponse(response_headers=HeadersResponse(response=change))


def answer_body(body: bytes, *, last: bool) -> Iterator[ProcessingResponse]:
    """Send a piece of an answer on."""
    for chunk, ends in _chunks(body, last=last):
        yield ProcessingResponse(response_body=_streamed(chunk, ends=ends))


def instead(error: ApiError, headers: RawHeaders = ()) -> ProcessingResponse:
    """Answer a request with an error, in place of any engine."""
    own = ((b"content-type", b"application/json"), *error.headers, *headers)
    return ProcessingResponse(
        immediate_response=ImmediateResponse(
            status=HttpStatus(code=error.status),
            headers=_mutation(own),
            body=error.body(),
            details="slosched",
        )
    )


def _mutation(headers: RawHeaders, without: Sequence[str] = ()) -> HeaderMutation:
    options = [
        HeaderValueOption(
            header=HeaderValue(key=name.decode("latin-1"), raw_value=value),
            append_action=OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers
    ]
    return HeaderMutation(set_headers=options, remove_headers=without)


def _streamed(chunk: bytes, *, ends: bool) -> BodyResponse:
    piece = StreamedBodyResponse(body=chunk, end_of_stream=ends)
    change = CommonResponse(body_mutation=BodyMutation(streamed_response=piece))
    return BodyResponse(response=change)


def _chunks(body: bytes, *, last: bool) -> Iterator[tuple[bytes, bool]]:
    """Cut a body into pieces; there is one at least, and the last may end it."""
    starts = range(0, max(len(body), 1), _CHUNK)
    for start in starts:
        yield body[start : start + _CHUNK], last and start == starts[-1]
