"""Reading a request body without trusting its length, or what is in it."""

from typing import Any

import orjson
from starlette.types import Receive, Scope

from slosched_server.errors import bad_request, body_too_large


class ClientGoneError(Exception):
    """The client hung up before it had sent its request."""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """Read the whole body.

    Raises
    ------
    ApiError
        If it is, or says that it will be, larger than `limit_bytes`.
    ClientGoneError
        If the client hangs up first.
    """
    # The HTTP parser has refused any content-length that is no number.
    declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
    if int(declared) > limit_bytes:
        raise body_too_large(limit_bytes)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise body_too_large(limit_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that has to be a JSON object; `ApiError` if it is none."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object")
    return fields
