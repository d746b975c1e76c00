"""What a policy answers: who goes first, and who gives up its slot."""

from dataclasses import dataclass, field

import numpy as np

from slosched.core.errors import PlanError
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray


def nobody() -> IntArray:
    """No rows at all."""
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Plan:
    """A priority order over all live requests.

    Parameters
    ----------
    order
        Shape (n,): the snapshot's rows, most urgent first. Waiting requests are admitted in
        this order; running ones are served in it while the token budget lasts.
    preempt
        Rows of running requests that give up slot and KV, and pay their prefill again.
    """

    order: IntArray
    preempt: IntArray = field(default_factory=nobody)

    def check(self, snapshot: Snapshot) -> None:
        """Raise `PlanError` unless this is a plan for that snapshot (law 8)."""
        n = len(snapshot)
        if self.order.dtype.kind != "i" or self.preempt.dtype.kind != "i":
            raise PlanError("order and preempt must be arrays of integers")
        if self.order.shape != (n,) or not np.array_equal(np.sort(self.order), np.arange(n)):
            raise PlanError(f"order must be a permutation of the {n} rows of the snapshot")
        preempt = self.preempt
        if len(np.unique(preempt)) != len(preempt) or not np.isin(preempt, np.arange(n)).all():
            raise PlanError("preempt must name rows of the snapshot, each once")
        if not snapshot.running[preempt].all():
            raise PlanError("preempt must name running requests only")
