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
    """

    solver: Solver
    kind: Literal["planned"] = "planned"
    objective: Objective = field(default_factory=Objective)
    preemption: bool = True

    def plan(self, snapshot: Snapshot) -> Plan:
        """Solve the snapshot."""
        solution = self.solver.solve(Problem(snapshot, self.objective, self.preemption))
        return Plan(solution.order, solution.preempt)
