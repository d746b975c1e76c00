"""Many engines behind one queue: what is planned together, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.objective import Objective
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.core.types import FloatArray, IntArray, LiveArray

NOWHERE = -1  # of a request that is bound to no replica


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica's engine, as far as plans go."""

    limits: EngineLimits
    latency: LinearLatency


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """All live requests at `now`, and the replicas that may serve them.

    Parameters
    ----------
    now
        Seconds, on the clock of the arrivals.
    live
        Shape (n,), dtype `LIVE`; those that are bound are `running`.
    bound
        Shape (n,): at which replica each is; NOWHERE for who waits.
    engines
        The replicas.
    queued
        Shape (n,): for which replica each waited by the plan before, in the order of its `rank`;
        NOWHERE for who is new, or waits no more. None where there was no plan.
    """

    now: float
    live: LiveArray
    bound: IntArray
    engines: Sequence[Engine]
    queued: IntArray | None = None

    def __len__(self) -> int:
        return len(self.live)

    def as_one(self) -> Snapshot:
        """Return all requests as if the first engine had them; their rows are these, no copies."""
        return Snapshot(self.now, self.live, self.engines[0].limits, self.engines[0].latency)

    def at(self, replica: int, rows: IntArray) -> Snapshot:
        """Return what one replica would see, were some rows all its requests."""
        engine = self.engines[replica]
        return Snapshot(self.now, self.live[rows], engine.limits, engine.latency)


@dataclass(frozen=True, slots=True)
class FleetProblem:
    """What a solver for fleets is asked; see `protocols.Problem`."""

    snapshot: FleetSnapshot
    objective: Objective
    robust: bool = False


@dataclass(frozen=True, slots=True)
class FleetSolution:
    """Who goes where, and in which order.

    Parameters
    ----------
    queues
        Of each replica the rows that wait for it, the first first.
    cost
        Of all, by the objective on the rollouts; lower is better.
    first, finish
        Shape (n,): seconds from `now` to each first token and finish; inf if never.
    attained
        How many requests keep all their limits.
    moves
        Assignments that were evaluated.
    """

    queues: Sequence[IntArray]
    cost: float
    first: FloatArray
    finish: FloatArray
    attained: int
    moves: int = 0

    def replica_of(self, n: int) -> IntArray:
        """Return for which replica each of n rows waits, shape (n,); NOWHERE for the others."""
        chosen = np.full(n, NOWHERE, dtype=np.int64)
        for replica, queue in enumerate(self.queues):
            chosen[queue] = replica
        return chosen


class FleetSolver(Protocol):
    """Searches for the assignment and the orders of least cost."""

    def solve(self, problem: FleetProblem) -> FleetSolution:
        """Find a good queue for each replica."""
        ...

    def added(
        self, problem: FleetProblem, queues: Sequence[IntArray], newcomers: IntArray
    ) -> float:
        """Put requests, one after the other, where they cost least; return what the last one adds.

        Parameters
        ----------
        queues
            Rows that wait for each engine.
        newcomers
            Rows that wait for none yet, at least one.
        """
        ...

    def price(self, problem: FleetProblem, queues: Sequence[IntArray]) -> FleetSolution:
        """Say what comes of some queues, in which anybody who waits is once at most."""
        ...
