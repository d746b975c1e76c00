"""A plan of which everybody knows what it is: dealt out in turns, and then by deadline."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slosched.core.fleet import NOWHERE, FleetProblem, FleetSolution
from slosched.core.types import IntArray
from slosched_solvers.fleet import FleetAnneal


@dataclass(frozen=True)
class EarliestDeadline:
    """A `FleetSolver` that does not search; equal deadlines go by arrival."""

    pricing: FleetAnneal = field(default_factory=FleetAnneal)

    def solve(self, problem: FleetProblem) -> FleetSolution:
        of = problem.snapshot
        waits = np.flatnonzero(of.bound == NOWHERE)
        due = of.live["arrival"] + of.live["e2e"]
        serial = of.live["serial"]
        order = waits[np.lexsort((serial[waits], due[waits]))]
        replica = serial[order] % len(of.engines)  # for good, however often plans are made
        return self.pricing.price(problem, [order[replica == r] for r in range(len(of.engines))])

    def added(
        self, problem: FleetProblem, queues: Sequence[IntArray], newcomers: IntArray
    ) -> float:
        return self.pricing.added(problem, queues, newcomers)

    def price(self, problem: FleetProblem, queues: Sequence[IntArray]) -> FleetSolution:
        return self.pricing.price(problem, queues)
