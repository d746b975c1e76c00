"""The parts that users may replace: one method each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from slosched.core.objective import Objective
from slosched.core.plan import Plan, nobody
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray, IntArray


class Policy(Protocol):
    """Orders the live requests."""

    def plan(self, snapshot: Snapshot) -> Plan:
        """Answer who goes first; must not keep or change the snapshot."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """What a solver is asked.

    Parameters
    ----------
    snapshot
        The live requests and the engine.
    objective
        What an order is worth.
    preemption
        Whether running requests may be told to give up their slots.
    """

    snapshot: Snapshot
    objective: Objective
    preemption: bool = False


@dataclass(frozen=True, slots=True)
class Solution:
    """What a solver found.

    Parameters
    ----------
    order
        Shape (n,): rows of the snapshot, those that keep a slot first.
    preempt
        Rows of running requests that shall give up their slots.
    cost
        Of that order, by the objective on the rollout; lower is better.
    first, finish
        Shape (n,): seconds from `now` to each first token and finish; inf if never.
    attained
        How many requests keep all their limits.
    moves
        Orders that were evaluated.
    attained_bound
        Proven: no schedule that preempts nobody attains more weight. None where nothing is
        proven.
    """

    order: IntArray
    cost: float
    first: FloatArray
    finish: FloatArray
    attained: int
    moves: int = 0
    preempt: IntArray = field(default_factory=nobody)
    attained_bound: float | None = None


class Solver(Protocol):
    """Searches for the order of least cost."""

    def solve(self, problem: Problem) -> Solution:
        """Find a good order of the snapshot's rows."""
        ...


class Predictor(Protocol):
    """Guesses how much a request still has to say."""

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Output tokens that each request still has to produce, shape (n,), at least 1."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A predictor that learns from requests as they finish."""

    def observe(self, request: Request, output_tokens: int) -> None:
        """Take note of a finished request's true length."""
        ...
