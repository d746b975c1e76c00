"""Ids of requests, by which an answer, log lines, spans and the engine's own logs are joined."""

import re
from itertools import count
from secrets import token_hex

from slosched_server.upstream import RawHeaders

HEADER = b"x-request-id"
# What can stand in a log line and in a header as it is.
_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

# No other process has the first half, and no other request of this one the second.
_OURS, _NUMBERS = token_hex(8), count()


def request_id(headers: RawHeaders) -> str:
    """Return the id that a client gave its request, or a new one if it is missing or not sane."""
    for name, value in headers:
        if name == HEADER:
            if _SANE.fullmatch(value):
                return value.decode()
            break
    return f"{_OURS}{next(_NUMBERS):016x}"


def with_id(headers: RawHeaders, this: str) -> RawHeaders:
    """Return headers for the engine that have an id: as they came if that is the client's."""
    ours = (HEADER, this.encode())
    if ours in headers:
        return headers
    return [*(pair for pair in headers if pair[0] != HEADER), ours]
