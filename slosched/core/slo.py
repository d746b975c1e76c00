"""What a request asks for: its service level objective, and named classes of them."""

from dataclasses import dataclass
from math import inf

TOLERANCE = 1e-9  # relative: a limit that is met to the last digit of a float is met


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that a request must keep, all of them, to count as attained.

    Parameters
    ----------
    ttft
        Seconds from arrival to the first token.
    tpot
        Seconds for each output token after the first, on average.
    e2e
        Seconds from arrival to the last token.
    weight
        What attaining this request is worth, relative to 1.

    Raises
    ------
    ValueError
        If a limit or the weight is not positive.
    """

    ttft: float = inf
    tpot: float = inf
    e2e: float = inf
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ttft", "tpot", "e2e", "weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")

    def attained(self, ttft: float, tpot: float, e2e: float) -> bool:
        """Whether a finished request with these times, in seconds, kept every limit."""
        some = 1 + TOLERANCE
        return ttft <= self.ttft * some and tpot <= self.tpot * some and e2e <= self.e2e * some


@dataclass(frozen=True, slots=True)
class SloClass:
    """A named SLO that requests select by header, or by OpenAI's `service_tier`."""

    name: str
    slo: Slo
    service_tier: str | None = None
