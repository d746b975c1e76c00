"""Waiting longer from one failure to the next."""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Seconds to wait after a failure: twice as many as the last time, less a random part.

    Parameters
    ----------
    first_s, most_s
        After the first failure, and after many.
    """

    first_s: float
    most_s: float
    _failures: int = 0

    def wait_s(self) -> float:
        """Return how long to wait after one failure more."""
        longest = min(self.first_s * 2.0**self._failures, self.most_s)
        if longest < self.most_s:
            self._failures += 1
        # Those who failed together are not to come again together.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    def reset(self) -> None:
        """Forget failures: it works."""
        self._failures = 0
