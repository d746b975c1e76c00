"""The plan in force: what it decided, how old it is, and whom it does not know."""

from bisect import bisect_right

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.plan import Plan, nobody
from slosched.core.protocols import Standing
from slosched.core.snapshot import UNRANKED, EngineLimits, Snapshot
from slosched.core.types import IntArray
from slosched.planner.decision import Decision
from slosched.planner.job import Job
from slosched.planner.ranks import PLANNED, PROMOTED, newcomer_rank

_PLANS_TO_WAIT = 3  # a newcomer may have to wait for the solve in flight, then for its own


class InForce:
    """Writes the ranks of a table: those of the newest plan, and of who came since.

    Attributes
    ----------
    version
        Grows with every plan.
    """

    def __init__(self, table: LiveTable) -> None:
        from slosched.planner import kernels  # brings numba

        self._kernels = kernels
        self.version = 0
        self._table = table
        self._gates: tuple[int | None, int | None] = (None, None)
        self._preempt: IntArray = nobody()
        self._taken_at: float | None = None  # when its snapshot was, s
        self._delay = 0.0  # from the snapshot of the newest plan until it came into force, s
        self._known = -1  # the newest request that the plan knows, by serial
        self._came: list[int] = []  # rows of who came and has no rank yet

    def age(self, now: float) -> float:
        """Seconds since the plan's snapshot; 0 if there is no plan."""
        return 0.0 if self._taken_at is None else now - self._taken_at

    def is_newer(self, job: Job) -> bool:
        """Whether the plan in force is about a newer state than a job's."""
        return self._taken_at is not None and job.snapshot.now < self._taken_at

    def put(self, job: Job, plan: Plan, promoted: IntArray, now: float) -> bool:
        """Let a plan take the place of the one before; no plan does if all are gone whom it knew.

        Parameters
        ----------
        promoted
            Rows of the snapshot that are at the front of the plan, in this order.
        """
        rows, at, live = self._table.rows, job.rows, job.snapshot.live
        there = 0
        for order, least in ((plan.order, PLANNED), (promoted, PROMOTED)):
            there += self._kernels.give_ranks(
                rows, at, live, np.ascontiguousarray(order, np.int64), least
            )
        if not there:
            self.drop()
            return False
        victims = at[plan.preempt]
        same = rows["serial"][victims] == live["serial"][plan.preempt]
        self._preempt = victims[same & rows["running"][victims]]
        self._gates = plan.max_num_seqs, plan.max_num_batched_tokens
        self._taken_at, self._delay = job.snapshot.now, now - job.snapshot.now
        self._known = int(live["serial"][-1])
        self.version += 1
        return True

    def drop(self) -> None:
        """Forget the plan: all whom it knew are gone."""
        self._taken_at, self._gates, self._preempt = None, (None, None), nobody()

    def start_over(self) -> None:
        """Forget the plan, as whoever makes the next one knows nothing of it; ranks stay."""
        self.drop()
        self._known = -1

    def rank_all(self, standing: Standing) -> None:
        """Rank everybody once and for all."""
        self._came.clear()
        rows = self._table.rows
        for row in self._table.live().tolist():
            rows["rank"][row] = standing.rank(rows[row])
        self.version += 1

    def forget_makeshift_ranks(self, snapshot: Snapshot) -> None:
        """Mark in a snapshot whom the plan does not know: their rank is no part of any plan."""
        known = bisect_right(snapshot.live["serial"], self._known)
        snapshot.live["rank"][known:] = UNRANKED

    def came(self, row: int) -> None:
        """Take note of a newcomer."""
        self._came.append(row)

    def place_newcomers(self, now: float, limits: EngineLimits, latency: LinearLatency) -> None:
        """Rank whom neither a plan nor this has ranked yet."""
        rows, wait = self._table.rows, _PLANS_TO_WAIT * self._delay
        for row in self._came:
            newcomer = rows[row]
            if newcomer["serial"] > self._known:  # or it is gone, or in a plan by now
                rows["rank"][row] = newcomer_rank(newcomer, now, limits, latency, wait)
        self._came.clear()

    def decide(self, limits: EngineLimits) -> Decision:
        """Return what the plan asks of the next step; it preempts once."""
        preempt, self._preempt = self._preempt, nobody()
        sequences, tokens = self._gates
        return Decision(
            preempt,
            min(sequences or limits.max_num_seqs, limits.max_num_seqs),
            min(tokens or limits.max_num_batched_tokens, limits.max_num_batched_tokens),
        )
