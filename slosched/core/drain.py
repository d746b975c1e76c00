"""What one thread leaves for another."""

from collections import deque
from typing import TypeVar

_T = TypeVar("_T")


def drain(kept: deque[_T]) -> list[_T]:
    """Take out all that there is by now; others may add to it meanwhile."""
    return [kept.popleft() for _ in range(len(kept))]
