"""Iterative shortest remaining time first: ELIS (arXiv 2505.09142, section 4)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by, out_of_batch


@dataclass(frozen=True, slots=True)
class Isrtf(Guarded):
    """Form the batch from the smallest predicted remaining tokens, window by window.

    ELIS runs each batch for K tokens, predicts again and forms the next one; so a running
    request may lose its slot only after K tokens in it.

    Parameters
    ----------
    window
        K, in output tokens; ELIS uses 50.
    preemption
        Whether a running request may lose its slot at all.
    """

    kind: Literal["isrtf"] = "isrtf"
    window: int = 50
    preemption: bool = True

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1 token, got {self.window}")

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot, and take the slots of those that fell out of the batch."""
        remaining = np.maximum(snapshot.expected - snapshot.produced, 1)
        order = by(snapshot, remaining).order
        if not self.preemption:
            return Plan(order)
        in_slot = snapshot.produced - snapshot.live["admitted_at"]
        window_over = in_slot >= self.window
        return Plan(order, np.flatnonzero(out_of_batch(snapshot, order) & window_over))
