"""Reading a request body without trusting its length."""

from starlette.types import Receive, Scope

from slosched_server.errors import body_too_large


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
