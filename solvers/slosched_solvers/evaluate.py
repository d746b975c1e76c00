"""One order's outcome, with the scratch memory kept for the next."""

import numpy as np

from slosched.core.objective import Objective, attained
from slosched.core.protocols import Problem, Solution
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import FROM_SCRATCH, Checkpoints, checkpoints
from slosched_solvers.cost import price
from slosched_solvers.instance import Instance, build
from slosched_solvers.requests import requests
from slosched_solvers.rollout import ALONE, replay
from slosched_solvers.slots import make_slots


class Evaluator:
    """Rolls orders of one instance out and prices them.

    Attributes
    ----------
    first, finish
        Shape (scenarios, n): times of the order evaluated last, s from now; finish is inf for
        who never ends.
    """

    def __init__(self, instance: Instance, objective: Objective) -> None:
        scenarios, n = instance.remaining.shape
        self.instance = instance
        self.requests = requests(instance)
        self.price = price(objective, instance)
        self.settled = int(instance.running.sum())
        slots = max(min(int(instance.limits[0]), n), self.settled, 1)
        self.slots = make_slots(slots, n)
        self.first: FloatArray = np.empty((scenarios, n))
        self.finish: FloatArray = np.empty((scenarios, n))
        self._not_yet = np.where(np.isnan(instance.first_ago), np.inf, 0.0)
        self._none = checkpoints(scenarios, 0, slots)

    def __call__(self, order: IntArray) -> float:
        """Cost of an order, running requests first, over all scenarios; lower is better."""
        return self._replay(order, self._none)

    def checkpoints(self, order: IntArray) -> tuple[Checkpoints, float]:
        """Run an order for its cost, and keep the engine's state along the way."""
        scenarios, n = self.instance.remaining.shape
        saved = checkpoints(scenarios, n - self.settled, len(self.slots.row))
        value = self._replay(order, saved)
        return saved, value

    def _replay(self, order: IntArray, saved: Checkpoints) -> float:
        self.first[:] = self._not_yet
        self.finish[:] = np.inf
        n, position = len(order), np.empty_like(order)
        position[order] = np.arange(n)
        values = [
            replay(
                self.requests, s, order, position, self.settled, FROM_SCRATCH, ALONE,
                self.price, self.first[s], self.finish[s], self.slots, saved,
            )
            for s in range(len(self.first))
        ]  # fmt: skip
        return float(sum(values) / len(values))


def solution(problem: Problem, order: IntArray, moves: int) -> Solution:
    """Describe an order that preempts nobody as a solution, for lengths as predicted."""
    evaluate = Evaluator(build(problem.snapshot), problem.objective)
    value = evaluate(order)
    first, finish = evaluate.first[0], evaluate.finish[0]
    met = attained(problem.snapshot, first, finish)
    return Solution(order, value, first, finish, int(met.sum()), moves)
