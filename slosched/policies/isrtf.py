"""Iterative shortest remaining time first: ELIS (arXiv 2505.09142, section 4)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


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
        order = by(snapshot, snapshot.remaining).order
        if not self.preemption:
            return Plan(order)
        return Plan(order, self._fallen_out(snapshot, order))

    def _fallen_out(self, snapshot: Snapshot, order: IntArray) -> IntArray:
        batch = order[: snapshot.limits.max_num_seqs]
        in_slot = snapshot.produced - snapshot.live["admitted_at"]
        candidate = snapshot.running & (in_slot >= self.window)
        candidate[batch] = False
        return np.flatnonzero(candidate).astype(np.int64)
