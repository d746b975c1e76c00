"""Requests that are refused for who sent them, in the words that OpenAI's clients know."""

from collections.abc import Iterable
from math import ceil
from typing import Literal

from slosched_server.errors import ApiError
from slosched_server.upstream import RawHeaders

Reason = Literal["key", "class", "rate", "tag"]

_HOW = "send one that you were given as Authorization: Bearer KEY"


class AccessError(ApiError):
    """A client asked for what it may not have.

    Parameters
    ----------
    reason
        What it may not: come at all, ask for that class, ask so often, or say so.
    """

    def __init__(
        self,
        reason: Reason,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        kind: str = "permission_error",
        headers: RawHeaders = (),
    ) -> None:
        super().__init__(status, message, code, param=param, kind=kind, headers=headers)
        self.reason = reason


def no_key() -> AccessError:
    """Ask for a key."""
    return _unauthorized(f"an API key is needed: {_HOW}")


def unknown_key() -> AccessError:
    """Refuse a key that nobody has; it is not repeated, as errors are logged."""
    return _unauthorized(f"the API key is not known: {_HOW}")


def not_admin() -> AccessError:
    """Refuse a key without `admin: true`."""
    return AccessError("key", 403, "this needs a key with admin: true", "admin_key_needed")


def class_not_allowed(name: str, source: str, allowed: Iterable[str]) -> AccessError:
    """Refuse a class; say which ones there are for this client."""
    message = f"{source}: you may not ask for the class {name!r}, only for: {', '.join(allowed)}"
    return AccessError("class", 403, message, "class_not_allowed", param=source)


def tag_not_allowed(source: str) -> AccessError:
    """Refuse a header that this client's requests may not have."""
    message = f"{source}: you may not say this of a request"
    return AccessError("tag", 403, message, "tag_not_allowed", param=source)


def too_fast(what: str, per_minute: int, wait_s: float, headers: RawHeaders) -> AccessError:
    """Say when there is something left of a limit."""
    message = f"you may ask for {per_minute} {what} a minute; try again in {wait_s:.1f} s"
    return _limited(message, (*headers, (b"retry-after", b"%d" % ceil(wait_s))))


def too_large(what: str, units: int, most: float) -> AccessError:
    """Refuse what does not fit into a limit however long it waits; clients are not to retry."""
    message = f"this asks for {units} {what}, and you may ask for {most:g} at once"
    return _limited(message, ((b"x-should-retry", b"false"),))


def _unauthorized(message: str) -> AccessError:
    kind, challenge = "invalid_request_error", ((b"www-authenticate", b"Bearer"),)
    return AccessError("key", 401, message, "invalid_api_key", kind=kind, headers=challenge)


def _limited(message: str, headers: RawHeaders) -> AccessError:
    kind = "rate_limit_error"
    return AccessError("rate", 429, message, "rate_limit_exceeded", kind=kind, headers=headers)
