"""Promoted requests go first, whatever a solver thinks of it."""

import numpy as np

from slosched.core.protocols import Problem
from slosched.core.types import IntArray


def promoted_first(problem: Problem, order: IntArray) -> IntArray:
    """Put those that run first, then the promoted that wait, then the others as ordered."""
    running, promoted = problem.snapshot.running, problem.promoted
    promoted = promoted[~running[promoted]]
    others = order[~np.isin(order, promoted)] if len(promoted) else order
    settled = running[others]
    return np.concatenate((others[settled], promoted, others[~settled]))
