"""Ours: requests wait, and a solver plans for all replicas together who goes where, and when."""

from dataclasses import dataclass, field
from typing import Literal

from slosched.core.fleet import FleetSolver
from slosched.core.objective import Objective


@dataclass(frozen=True)
class PlannedFleet:
    """Hold requests in the order of a plan, until the replica that it names has room.

    Parameters
    ----------
    solver
        Searches for the queues.
    objective
        What they are worth.
    robust
        Whether orders are priced for short and long answers too, where the predictor is unsure.
    """

    solver: FleetSolver
    kind: Literal["planned"] = "planned"
    objective: Objective = field(default_factory=Objective)
    robust: bool = True
