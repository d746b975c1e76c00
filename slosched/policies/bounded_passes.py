"""The guard that counts who was passed."""

from dataclasses import dataclass
from typing import Literal

from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray


@dataclass(frozen=True, slots=True)
class BoundedPasses:
    """Send whoever was passed too often to the front, in order of arrival.

    A request is passed when one that came later gets a slot before it.

    Parameters
    ----------
    passes
        How often a waiting request may be passed. Small values protect the unlucky, large
        ones protect SLOs under overload, when somebody has to lose.
    """

    kind: Literal["bounded_passes"] = "bounded_passes"
    passes: int = 1000

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")

    def promoted(self, snapshot: Snapshot) -> IntArray:
        """Name whom too many have passed; rows are in order of arrival."""
        return snapshot.passed(self.passes)
