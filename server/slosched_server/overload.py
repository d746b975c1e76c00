"""What happens to requests that there is no room for: bounds of the queue, and who is refused."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from math import ceil, inf

from slosched.core.slo import SloClass
from slosched_server.errors import ApiError
from slosched_server.upstream import UpstreamError


@dataclass(frozen=True, slots=True)
class Overload:
    """Bounds of the queue, and what is refused before it would be late.

    Parameters
    ----------
    rejects
        Classes whose requests are refused if they would be late, or make others late.
    downgrades
        Classes whose requests are then served as another one instead, by name.
    max_waiting, max_waiting_tokens
        Requests, and tokens of prompts, that may wait.
    max_wait_s
        Seconds that a request may wait.
    caution
        How much longer than expected answers are taken to be where that is judged; see
        `AdmissionJob`.

    Raises
    ------
    ValueError
        If a bound is out of bounds.
    """

    rejects: AbstractSet[str] = frozenset()
    downgrades: Mapping[str, SloClass] = field(default_factory=dict)
    max_waiting: int = 4096
    max_waiting_tokens: float = inf
    max_wait_s: float = 600.0
    caution: float = 2.0

    def __post_init__(self) -> None:
        for name in ("max_waiting", "max_waiting_tokens"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.max_wait_s > 0:
            raise ValueError(f"max_wait_s must be greater than 0, got {self.max_wait_s}")
        if not self.caution >= 0:
            raise ValueError(f"caution must be at least 0, got {self.caution}")

    def guards(self, slo_class: str) -> bool:
        """Whether a class is kept from being late."""
        return slo_class in self.rejects or slo_class in self.downgrades


class RefusedError(UpstreamError):
    """A request is not served, so that others are.

    Parameters
    ----------
    why
        For people.
    after_s
        Seconds after which it is worth trying again.
    """

    def __init__(self, why: str, after_s: float) -> None:
        super().__init__(why)
        self.answer = ApiError(429, why, "overloaded", kind="rate_limit_error")
        self.retry_after = (b"retry-after", b"%d" % max(ceil(after_s), 1))
