"""One order's outcome, with its workspace kept for the next."""

import numpy as np

from slosched.core.objective import Objective, attained
from slosched.core.protocols import Problem, Solution
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import (
    FROM_SCRATCH,
    NO_CHECKPOINTS,
    Checkpoints,
    checkpoints,
    commit,
)
from slosched_solvers.instance import Instance, build
from slosched_solvers.rollout import NO_LIMIT, replay, workspace


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
        """Cost of an order, running requests first; lower is better."""
        return self._replay(order, NO_CHECKPOINTS)

    def checkpoints(self, order: IntArray) -> tuple[Checkpoints, float]:
        """Run an order for its cost, and keep the engine's state along the way."""
        running = int(self.instance.running.sum())
        slots = max(int(self.instance.limits[0]), running)
        saved = checkpoints(len(order) - running, slots)
        value = self._replay(order, saved)
        commit(saved, FROM_SCRATCH)
        return saved, value

    def _replay(self, order: IntArray, saved: Checkpoints) -> float:
        value = replay(
            self.instance, order, FROM_SCRATCH, saved is not NO_CHECKPOINTS, NO_LIMIT, self.kind,
            self.weights, self.first, self.finish, self.work, saved,
        )  # fmt: skip
        return float(value)


def solution(problem: Problem, order: IntArray, moves: int) -> Solution:
    """Describe an order that preempts nobody as a solution."""
    evaluate = Evaluator(build(problem.snapshot), problem.objective)
    value = evaluate(order)
    met = attained(problem.snapshot, evaluate.first, evaluate.finish)
    return Solution(order, value, evaluate.first, evaluate.finish, int(met.sum()), moves)
