"""Promoted requests go first, whatever a solver thinks of it."""

import numpy as np

from slosched.core.plan import marked
from slosched.core.protocols import Problem
from slosched.core.types import IntArray


def promoted_first(problem: Problem, order: IntArray) -> IntArray:
    """Put those that run first, then the promoted that wait, then the others as ordered."""
    running, promoted = problem.snapshot.running, problem.promoted
    promoted = promoted[~running[promoted]]
    others = order[~marked(promoted, len(running))[order]]
    settled = running[others]
    return np.concatenate((others[settled], promoted, others[~settled]))
