"""How long answers are, where nobody says: drawn, by what is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import exp
from statistics import NormalDist

from slosched.simulated_engine.asked import Prompt

HEADER = b"x-simulated-output-tokens"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lognormal lengths; the same prompt has the same every time.

    Parameters
    ----------
    median
        Tokens, at least 1.
    sigma
        Standard deviation of their logarithm. ShareGPT's answers have about 1.

    Raises
    ------
    ValueError
        If a value is out of bounds.
    """

    median: float = 200.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not self.median >= 1:
            raise ValueError(f"median must be at least 1, got {self.median}")
        if not self.sigma >= 0:
            raise ValueError(f"sigma must not be negative, got {self.sigma}")

    def of(self, prompt: Prompt, choice: int) -> int:
        """Tokens of one of the answers to a prompt."""
        digest = blake2b(f"{choice}:{prompt}".encode(errors="replace"), digest_size=6).digest()
        level = (int.from_bytes(digest, "big") + 0.5) / 2**48
        return max(round(self.median * exp(self.sigma * NormalDist().inv_cdf(level))), 1)


def said_by_header(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Read how long the answer shall be, where a load test says so.

    Raises
    ------
    ValueError
        If it is no number from 1 on.
    """
    for name, value in headers:
        if name.lower() == HEADER:
            if not value.isdigit() or int(value) < 1:
                raise ValueError(f"{HEADER.decode()} must be a whole number of tokens from 1 on")
            return int(value)
    return None
