"""The parts that users may replace: one method each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from slosched.core.objective import Objective
from slosched.core.plan import Plan, nobody
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray, IntArray, LiveArray, LiveRow


class Policy(Protocol):
    """Orders the live requests."""

    def plan(self, snapshot: Snapshot) -> Plan:
        """Answer who goes first; must not keep or change the snapshot."""
        ...


@runtime_checkable
class Standing(Protocol):
    """A policy whose order of any two requests never changes."""

    def rank(self, newcomer: LiveRow) -> int:
        """Place of a request that just came, once and for all; the least goes first."""
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
    admission_gate
        Whether fewer sequences may run than the engine has slots, to keep steps short.
    prefill_budget
        Whether steps may compute fewer tokens than the engine could, for the same reason.
    robust
        Whether orders are priced over all of `Snapshot.scenarios`, or for lengths as predicted.
    promoted
        Rows that go first, in this order, and keep their slots.
    complete
        Whether times are wanted of everybody, of those too who are late whatever is done.
    """

    snapshot: Snapshot
    objective: Objective
    preemption: bool = False
    admission_gate: bool = False
    prefill_budget: bool = False
    robust: bool = False
    promoted: IntArray = field(default_factory=nobody)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Solution:
    """What a solver found.

    Parameters
    ----------
    order
        Shape (n,): rows of the snapshot, those that keep a slot first.
    preempt
        Rows of running requests that shall give up their slots.
    max_num_seqs, max_num_batched_tokens
        Limits below the engine's own under which the order was priced; None for the engine's.
    cost
        Of that order, by the objective on the rollout; lower is better.
    first, finish
        Shape (n,): seconds from `now` to each first token and finish; inf if never, or if nobody
        looked.
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
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    attained_bound: float | None = None


class Solver(Protocol):
    """Searches for the order of least cost."""

    def solve(self, problem: Problem) -> Solution:
        """Find a good order of the snapshot's rows."""
        ...


class Predictor(Protocol):
    """Guesses how much a request still has to say."""

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Output tokens that each request still has to produce, at least 1.

        Shape (n,), or (n, 3) from a predictor that knows how unsure it is: the means of the
        shortest, the middle and the longest third of what they may come to be.
        """
        ...


class Guard(Protocol):
    """Sees to it that no policy starves anybody (law 13)."""

    def promoted(self, snapshot: Snapshot) -> IntArray:
        """Rows of the snapshot that go first, whatever the policy says, in this order."""
        ...


@runtime_checkable
class StepCounter(Protocol):
    """A guard that counts steps."""

    def tick(self, live: LiveArray, rows: IntArray) -> bool:
        """Count a step that was executed; say whether other requests are promoted since.

        Parameters
        ----------
        live
            The table's rows; a guard may write the columns `idle` and `quantum`.
        rows
            Those of the live requests, in order of arrival.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A predictor that learns from requests as they finish."""

    def observe(self, request: Request, output_tokens: int) -> None:
        """Take note of a finished request's true length."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """A predictor that answers at once with what it has, and finds out more in its own thread."""

    def improved(self) -> Sequence[str]:
        """Ids of requests of whom it knows more, since this was last asked; called every step."""
        ...

    def take_seconds(self) -> Sequence[float]:
        """Return how long it took to find out, for each of them, since last asked."""
        ...

    def take_errors(self) -> Sequence[BaseException]:
        """Return what went wrong there since last asked."""
        ...

    def close(self) -> None:
        """Find out nothing more; must not wait."""
        ...
