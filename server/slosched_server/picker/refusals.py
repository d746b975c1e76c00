"""What clients are told that a picker has no place for; all of it may be tried again."""

from slosched_server.errors import ApiError

_SOON = ((b"retry-after", b"1"),)


def no_endpoint() -> ApiError:
    """Say that no replica is ready, or none of those that may get the request."""
    message = "no replica is ready for this request; try again"
    return ApiError(503, message, "no_endpoint", kind="api_error", headers=_SOON)


def not_leading() -> ApiError:
    """Say that another picker takes over."""
    message = "the endpoint picker hands over to another one; try again"
    return ApiError(503, message, "picker_unavailable", kind="api_error", headers=_SOON)


def bad_gateway_mode(mode: str) -> ApiError:
    """Say that the gateway is set up in a way that nothing can be planned in."""
    message = f"the gateway sends no bodies to its picker: its request_body_mode is {mode}"
    return ApiError(500, message, "gateway_misconfigured", kind="api_error")
