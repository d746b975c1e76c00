"""What a policy answers: who goes first, and who gives up its slot."""

from dataclasses import dataclass, field, replace

import numpy as np

from slosched.core.errors import PlanError
from slosched.core.snapshot import Snapshot
from slosched.core.types import BoolArray, FloatArray, IntArray


def marked(rows: IntArray, n: int) -> BoolArray:
    """Tell which of `n` rows are among some, shape (n,)."""
    among = np.zeros(n, dtype=np.bool_)
    among[rows] = True
    return among


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
    max_num_seqs, max_num_batched_tokens
        Stay below the engine's own limits: admit nobody while so many run, compute no more
        tokens in a step. None to use all that the engine has.
    first, finish
        Shape (n,): seconds from the snapshot's `now` to each first token (0 if it is out) and
        finish, as the plan expects them; None if it expects nothing.
    """

    order: IntArray
    preempt: IntArray = field(default_factory=nobody)
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    first: FloatArray | None = None
    finish: FloatArray | None = None

    def promote(self, rows: IntArray) -> "Plan":
        """Send rows to the front, in the order given; they keep their slots.

        Of a plan that was checked. PlanError if a row is none of it, or there twice.
        """
        if not len(rows):
            return self
        n = len(self.order)
        if rows.min() < 0 or rows.max() >= n or len(np.unique(rows)) < len(rows):
            raise PlanError(f"promoted must name some of the {n} rows of the snapshot, each once")
        moved = marked(rows, n)
        order = np.concatenate((rows, self.order[~moved[self.order]]))
        return replace(self, order=order, preempt=self.preempt[~moved[self.preempt]])

    def check(self, snapshot: Snapshot) -> None:
        """Raise `PlanError` unless this is a plan for that snapshot (law 8)."""
        n = len(snapshot)
        if self.order.dtype.kind != "i" or self.preempt.dtype.kind != "i":
            raise PlanError("order and preempt must be arrays of integers")
        if self.order.shape != (n,) or not _is_permutation(self.order):
            raise PlanError(f"order must be a permutation of the {n} rows of the snapshot")
        if len(self.preempt):
            self._check_preempt(snapshot)
        limits = snapshot.limits
        for name in ("max_num_seqs", "max_num_batched_tokens"):
            limit, most = getattr(self, name), getattr(limits, name)
            if limit is not None and not 1 <= limit <= most:
                raise PlanError(f"{name} must be from 1 to the engine's {most}, got {limit}")

    def _check_preempt(self, snapshot: Snapshot) -> None:
        preempt = np.sort(self.preempt)
        if preempt[0] < 0 or preempt[-1] >= len(snapshot) or not np.diff(preempt).all():
            raise PlanError("preempt must name rows of the snapshot, each once")
        if not snapshot.running[preempt].all():
            raise PlanError("preempt must name running requests only")


def _is_permutation(order: IntArray) -> bool:
    n = len(order)
    if n and (order.min() < 0 or order.max() >= n):
        return False
    return bool(marked(order, n).all())
