"""Keeps the table of live requests, and turns policies into ranks that engines follow."""

from collections.abc import Iterable, Sequence

import numpy as np
import structlog

from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.plan import Plan
from slosched.core.protocols import Guard, Learner, Policy, Predictor
from slosched.core.request import Request
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.core.types import FloatArray, IntArray

log = structlog.get_logger(__name__)


class Planner:
    """One scheduler's planning: the same in the simulator and inside vLLM.

    An engine enters requests (`add`), writes their progress into `table.rows`, asks for a plan
    before each step, and says when they end (`remove`).

    Parameters
    ----------
    policy
        Orders the live requests.
    predictor
        Predicts lengths: at arrival, and again every `repredict_tokens` output tokens.
    guard
        Mends the policy's plans.
    fallback
        Takes over for a plan when the policy raises or returns no plan (law 14).

    Attributes
    ----------
    failures
        Errors of policy and predictor that were survived.
    """

    def __init__(
        self,
        policy: Policy,
        predictor: Predictor,
        guard: Guard,
        fallback: Policy,
        repredict_tokens: int = 50,
    ) -> None:
        self.table = LiveTable()
        self.failures = 0
        self._policy = policy
        self._predictor = predictor
        self._guard = guard
        self._fallback = fallback
        self._repredict_tokens = repredict_tokens
        self._planned_version = -1
        self._told: set[str] = set()

    @property
    def kind(self) -> str:
        """What makes the plans: the kind of the policy's solver, or of the policy itself."""
        maker = getattr(self._policy, "solver", self._policy)
        return str(getattr(maker, "kind", type(maker).__name__))

    def add(self, request: Request) -> int:
        """Enter a request that waits, and return its row."""
        row = self.table.add(request)
        self._predict([row])
        return row

    def remove(self, request_id: str, output_tokens: int | None = None) -> None:
        """Forget a request; pass its length if it came to its end, so that predictors learn."""
        request = self.table.remove(request_id)
        if not output_tokens or not isinstance(self._predictor, Learner):
            return
        try:
            self._predictor.observe(request, output_tokens)
        except Exception as error:
            self._failed("learning_failed", self._predictor, error)

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> IntArray:
        """Rank the live requests if anything changed since the last plan.

        Writes each request's place into `table.rows["rank"]`.

        Returns
        -------
        Table rows of the running requests that shall be preempted.
        """
        table = self.table
        self._predict()
        if table.version == self._planned_version or not len(table):
            return np.empty(0, dtype=np.int64)
        snapshot, rows = table.snapshot(now, limits, latency)
        plan = self._plan(snapshot)
        table.rows["rank"][rows[plan.order]] = np.arange(len(rows))
        self._planned_version = table.version
        return rows[plan.preempt]

    def _plan(self, snapshot: Snapshot) -> Plan:
        try:
            plan = self._policy.plan(snapshot).promote(self._guard.promoted(snapshot))
            plan.check(snapshot)
        except Exception as error:
            self._failed("plan_failed", self._policy, error)
            return self._fallback.plan(snapshot)
        return plan

    def _predict(self, rows: Iterable[int] | None = None) -> None:
        every = self._repredict_tokens
        try:
            self.table.predict(self._predictor, every, rows)
        except Exception as error:
            self._failed("prediction_failed", self._predictor, error)
            self.table.predict(_Blind(), every, rows)

    def _failed(self, event: str, part: object, error: Exception) -> None:
        self.failures += 1
        if event not in self._told:  # once: it may fail at every step
            self._told.add(event)
            log.warning(event, part=type(part).__name__, error=str(error), exc_info=error)


class _Blind:
    """What is expected of requests while the predictor fails."""

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        del produced
        return np.full(len(requests), 200.0)
