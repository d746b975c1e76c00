"""All orders, for small instances: the oracle of the tests."""

from dataclasses import dataclass, replace
from itertools import permutations, product
from math import factorial
from typing import Literal

import numpy as np

from slosched.core.protocols import Problem, Solution
from slosched_solvers.evaluate import Evaluator, solution
from slosched_solvers.instance import build
from slosched_solvers.starts import starts


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Try every order of the running requests with every order of the waiting ones.

    Promoted requests stand where they must; nobody is preempted.

    Parameters
    ----------
    max_waiting
        Refuse what has more orders than so many waiting requests: 8 have 40,320, 9 have 362,880.
    """

    kind: Literal["exhaustive"] = "exhaustive"
    max_waiting: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.max_waiting <= 10:
            raise ValueError(f"max_waiting must be from 1 to 10, got {self.max_waiting}")

    def solve(self, problem: Problem) -> Solution:
        """Find the best order; ValueError if there are too many to try."""
        start = next(starts(problem))
        settled = int(problem.snapshot.running.sum())
        promoted = int((~problem.snapshot.running[problem.promoted]).sum())
        first, free = start[settled : settled + promoted], start[settled + promoted :]
        orders = factorial(settled) * factorial(len(free))
        if orders > factorial(self.max_waiting):
            raise ValueError(
                f"exhaustive search takes at most {self.max_waiting} waiting requests "
                f"(solver.max_waiting), got {len(free)} and {settled} running"
            )
        evaluate = Evaluator(build(problem.snapshot, robust=problem.robust), problem.objective)
        best, best_cost = start, np.inf
        for head, tail in product(permutations(start[:settled]), permutations(free)):
            order = np.array([*head, *first, *tail], dtype=np.int64)
            value = evaluate(order)
            if value < best_cost:
                best, best_cost = order, value
        return replace(solution(problem, best, orders), cost=best_cost)
