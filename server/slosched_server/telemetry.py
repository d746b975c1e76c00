"""Traces by OpenTelemetry: whether and where they go. Nothing of it is imported unless they do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slosched.core.errors import SloschedError
from slosched.core.url import check_root

if TYPE_CHECKING:
    from slosched_server.tracing import Tracing


class TelemetryError(SloschedError):
    """Traces are wanted, and what makes them is not installed."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Settings of the section `telemetry`.

    Parameters
    ----------
    otlp_endpoint
        Root URL of a collector that takes OTLP over HTTP; None for no traces.
    service_name
        As which the front end appears in traces.
    sample_ratio
        Share of the requests that are traced, of those whose client did not decide it.

    Raises
    ------
    ValueError
        If a field is out of bounds; the text starts with its name.
    """

    otlp_endpoint: str | None = None
    service_name: str = "slosched"
    sample_ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.otlp_endpoint is not None:
            try:
                check_root(self.otlp_endpoint)
            except ValueError as error:
                raise ValueError(f"otlp_endpoint: {error}") from None
        if not self.service_name:
            raise ValueError("service_name: must not be empty")
        if not 0 <= self.sample_ratio <= 1:
            raise ValueError(f"sample_ratio: must be from 0 to 1, got {self.sample_ratio}")


@contextmanager
def tracing(settings: TelemetrySettings) -> Iterator["Tracing | None"]:
    """Trace requests while the context is open, if that is configured.

    Raises
    ------
    TelemetryError
        If the packages for it are missing.
    """
    if settings.otlp_endpoint is None:
        yield None
        return
    try:
        from slosched_server.tracing import exporting
    except ImportError as error:
        raise TelemetryError(f"telemetry: pip install 'slosched[otel]' ({error})") from error
    with exporting(settings) as traced:
        yield traced
