"""Asking for a deadline, from a client: on top of the `openai` package, or of any HTTP client."""

from typing import Any, Protocol, TypeVar

from slosched.core.tags import CLASS_HEADERS, TENANT_HEADER

_LARGEST_MS = 999_999_999


class _Client(Protocol):
    def with_options(self, *, default_headers: Any) -> Any:  # noqa: ANN401 - openai's
        """Return the same client with other options, as `openai` has it."""
        ...


_AnyClient = TypeVar("_AnyClient", bound=_Client)


def slo_headers(
    slo_class: str | None = None,
    *,
    ttft_ms: int | None = None,
    tpot_ms: int | None = None,
    e2e_ms: int | None = None,
    tenant: str | None = None,
) -> dict[str, str]:
    """Return the HTTP headers that ask for an SLO.

    Parameters
    ----------
    slo_class
        Name of a class that the server knows.
    ttft_ms, tpot_ms, e2e_ms
        Limits of this request's own, in whole milliseconds: to the first token, for each token
        after it on average, to the last token. They replace all limits of the class.
    tenant
        Who it is for.

    Raises
    ------
    ValueError
        If a limit is no whole number of milliseconds from 1 to 999,999,999.
    """
    headers = {}
    if slo_class is not None:
        headers[CLASS_HEADERS[0]] = slo_class
    if tenant is not None:
        headers[TENANT_HEADER] = tenant
    for name, value in (("ttft", ttft_ms), ("tpot", tpot_ms), ("e2e", e2e_ms)):
        if value is None:
            continue
        if not isinstance(value, int) or not 1 <= value <= _LARGEST_MS:
            raise ValueError(
                f"{name}_ms must be whole milliseconds from 1 to {_LARGEST_MS}, got {value!r}"
            )
        headers[f"x-slo-{name}-ms"] = str(value)
    return headers


def with_slo(client: _AnyClient, slo_class: str | None = None, **limits: Any) -> _AnyClient:  # noqa: ANN401 - as of slo_headers
    """Return a client of the `openai` package, sync or async, all of whose requests ask for an SLO.

    The connections are those of the client that it was made of, which stays as it is.

    Parameters
    ----------
    client
        An `openai.OpenAI` or `openai.AsyncOpenAI`, or any that has their `with_options`.
    slo_class, limits
        See `slo_headers`.

    Examples
    --------
    >>> chat = with_slo(client, "interactive")  # doctest: +SKIP
    >>> soon = with_slo(client, ttft_ms=300, tpot_ms=50)  # doctest: +SKIP
    """
    made: _AnyClient = client.with_options(default_headers=slo_headers(slo_class, **limits))
    return made
