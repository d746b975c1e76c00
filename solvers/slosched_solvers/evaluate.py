"""One order's outcome, with its workspace kept for the next."""

import numpy as np

from slosched.core.objective import Objective, attained
from slosched.core.protocols import Problem, Solution
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.cost import cost
from slosched_solvers.instance import Instance, build
from slosched_solvers.rollout import rollout, workspace


class Evaluator:
    """Rolls orders of one instance out and prices them.

    Attributes
    ----------
    first, finish
        Shape (n,): times of the order evaluated last, s from now.
    """

    def __init__(self, instance: Instance, objective: Objective) -> None:
        n = len(instance.age)
        self.instance = instance
        self.first: FloatArray = np.empty(n)
        self.finish: FloatArray = np.empty(n)
        self.work = workspace(n)
        self.kind = objective.code
        self.weights = np.array([objective.latency_weight, objective.tardiness_weight])

    def __call__(self, order: IntArray) -> float:
        """Cost of an order; lower is better."""
        rollout(self.instance, order, self.first, self.finish, self.work)
        return float(cost(self.instance, self.first, self.finish, self.kind, self.weights))


def solution(problem: Problem, order: IntArray, moves: int) -> Solution:
    """Describe an order that preempts nobody as a solution."""
    evaluate = Evaluator(build(problem.snapshot), problem.objective)
    value = evaluate(order)
    met = attained(problem.snapshot, evaluate.first, evaluate.finish)
    return Solution(order, value, evaluate.first, evaluate.finish, int(met.sum()), moves)
