"""Errors as OpenAI's clients expect them: status and `{"error": {message, type, param, code}}`."""

from collections.abc import Sequence

import orjson
from starlette.responses import Response

from slosched.core.errors import SloschedError, TagError


class ApiError(SloschedError):
    """An error that is answered to the client.

    Parameters
    ----------
    status
        The HTTP status.
    message
        What is wrong, for people.
    code
        What is wrong, for programs.
    param
        The header or body field at fault, if there is one.
    kind
        OpenAI's `type`: whose fault it is.
    headers
        Of the answer, beside those that every error has.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self._error = {"message": message, "type": kind, "param": param, "code": code}

    def body(self) -> bytes:
        """Write the JSON body."""
        return orjson.dumps({"error": self._error})

    def event(self) -> bytes:
        """Write a server-sent event, for a stream that has begun and cannot change its status."""
        return b"data: " + self.body() + b"\n\n"

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """Make the whole answer."""
        response = Response(self.body(), self.status, headers, "application/json")
        response.raw_headers += self.headers
        return response


def bad_tag(error: TagError) -> ApiError:
    """Blame the header or field that the tag was read from."""
    return ApiError(400, str(error), "invalid_slo", param=error.source)


def bad_request(message: str, param: str | None = None) -> ApiError:
    """Refuse a request that cannot be passed on."""
    return ApiError(400, message, "invalid_request", param=param)


def not_found(message: str) -> ApiError:
    """Say that there is no such thing."""
    return ApiError(404, message, "not_found")


def conflict(message: str) -> ApiError:
    """Say that there is such a thing already."""
    return ApiError(409, message, "conflict")


def body_too_large(limit_bytes: int) -> ApiError:
    """Refuse a body above `max_body_bytes`."""
    # Its rest stays unread, so this connection cannot serve another request.
    last = ((b"connection", b"close"),)
    message = f"the body is larger than {limit_bytes} bytes"
    return ApiError(413, message, "body_too_large", headers=last)


def head_too_large(limit_bytes: int) -> ApiError:
    """Refuse a request line and headers above `max_header_bytes`."""
    message = f"the headers are larger than {limit_bytes} bytes"
    return ApiError(431, message, "headers_too_large")


def invalid_http() -> ApiError:
    """Refuse what is no HTTP."""
    return ApiError(400, "this is no valid HTTP/1.1 request", "invalid_http")


def too_slow() -> ApiError:
    """Give up a client that does not send its request to the end."""
    return ApiError(408, "the request took too long to arrive", "request_timeout")


def too_many_connections() -> ApiError:
    """Turn a client away for lack of room."""
    message = "too many clients are connected; try again"
    return ApiError(503, message, "too_many_connections", kind="api_error")


def stopping() -> ApiError:
    """Turn work away from a server that stops."""
    return ApiError(503, "the server is stopping; try again", "stopping", kind="api_error")


def unreachable() -> ApiError:
    """Say that no answer came: the engine is down, starting, or died before its first byte."""
    message = "the engine cannot be reached, or ended before it answered; it may be starting"
    return ApiError(502, message, "engine_unreachable", kind="api_error")


def broken_off() -> ApiError:
    """Say that the engine died within an answer."""
    message = "the engine broke off within its answer"
    return ApiError(502, message, "engine_broke_off", kind="api_error")


def not_ready() -> ApiError:
    """Say that the engine is starting, restarting or gone."""
    return ApiError(503, "the engine is not ready", "engine_not_ready", kind="api_error")


def plain_http(status: int, detail: str) -> ApiError:
    """Give the framework's own errors (no such path, wrong method) the same form."""
    kind = "invalid_request_error" if status < 500 else "api_error"
    return ApiError(status, detail, detail.lower().replace(" ", "_"), kind=kind)
