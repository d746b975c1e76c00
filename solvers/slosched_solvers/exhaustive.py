"""All orders, for small instances: the oracle of the tests."""

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from slosched.core.protocols import Problem, Solution
from slosched_solvers.evaluate import Evaluator, solution
from slosched_solvers.instance import build
from slosched_solvers.starts import starts


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Try every order of the waiting requests.

    Parameters
    ----------
    max_waiting
        Refuse more waiting requests than this: 8 make 40,320 orders, 9 make 362,880.
    """

    kind: Literal["exhaustive"] = "exhaustive"
    max_waiting: int = 8

    def solve(self, problem: Problem) -> Solution:
        """Find the best order; ValueError if there are too many to try."""
        start = next(starts(problem.snapshot))
        settled = int(problem.snapshot.running.sum())
        waiting = len(start) - settled
        if waiting > self.max_waiting:
            raise ValueError(
                f"exhaustive search takes at most {self.max_waiting} waiting requests "
                f"(solver.max_waiting), got {waiting}"
            )
        evaluate = Evaluator(build(problem.snapshot), problem.objective)
        best, best_cost, tried = start, np.inf, 0
        for tried, tail in enumerate(permutations(start[settled:]), 1):  # noqa: B007 - counts
            order = np.concatenate((start[:settled], np.array(tail, dtype=np.int64)))
            value = evaluate(order)
            if value < best_cost:
                best, best_cost = order, value
        return solution(problem, best, tried)
