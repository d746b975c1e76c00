"""Our policy: the order that a solver finds for the objective."""

from dataclasses import dataclass, field
from typing import Literal

from slosched.core.objective import Objective
from slosched.core.plan import Plan
from slosched.core.protocols import Problem, Solver
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded


@dataclass(frozen=True, slots=True)
class Planned(Guarded):
    """Serve requests in the order of a solver's plan, and preempt where the plan says it pays.

    Parameters
    ----------
    solver
        Searches for the order.
    objective
        What an order is worth.
    preemption
        Whether running requests may lose their slots.
    admission_gate
        Whether slots may stay empty, to keep the steps of those that run short.
    prefill_budget
        Whether steps may compute fewer prompt tokens than they could, for the same reason.
    robust
        Whether orders are priced for short and long answers too, where the predictor is unsure.
    """

    solver: Solver
    kind: Literal["planned"] = "planned"
    objective: Objective = field(default_factory=Objective)
    preemption: bool = True
    admission_gate: bool = True
    prefill_budget: bool = True
    robust: bool = True

    def plan(self, snapshot: Snapshot) -> Plan:
        """Solve the snapshot."""
        problem = Problem(
            snapshot,
            self.objective,
            self.preemption,
            self.admission_gate,
            self.prefill_budget,
            self.robust,
            self.guard.promoted(snapshot),
        )
        found = self.solver.solve(problem)
        return Plan(
            found.order,
            found.preempt,
            found.max_num_seqs,
            found.max_num_batched_tokens,
            found.first,
            found.finish,
        )
