"""Learning to rank: vllm-ltr (arXiv 2408.15792)."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guard, Guarded, IdleSteps
from slosched.policies.keys import by, out_of_batch
from slosched.policies.score import score


@dataclass(frozen=True, slots=True)
class Ltr(Guarded):
    """Serve the highest score first.

    vllm-ltr sorts waiting and running requests alike and executes the first so many at every
    step; what falls out pauses and keeps its KV cache. Engines that know no such pause compute
    its whole context again, and a guard that promotes for ten steps makes them do little else.

    Parameters
    ----------
    preemption
        Whether a running request loses its slot to one of a higher score, as published; but not
        before it has had a token in that slot, so that no context is computed for nothing.
    guard
        vllm-ltr's own by default.
    """

    kind: Literal["ltr"] = "ltr"
    preemption: bool = False
    guard: Guard = field(default_factory=IdleSteps, kw_only=True)

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot, and take the slots of those that fell out of the batch."""
        # Efficient LLM Scheduling by Learning to Rank, section 4: sort by (priority, -score).
        plan = by(snapshot, -score(snapshot)).promote(self.guard.promoted(snapshot))
        if not self.preemption:
            return plan
        had_a_token = snapshot.produced > snapshot.live["admitted_at"]
        return Plan(plan.order, np.flatnonzero(out_of_batch(snapshot, plan.order) & had_a_token))
