"""Keeps the table of live requests, and turns policies into ranks that engines follow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import structlog

from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.plan import Plan, nobody
from slosched.core.protocols import Guard, Learner, Policy, Predictor
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.core.types import FloatArray, IntArray

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a plan asks of the engine in one step.

    Parameters
    ----------
    preempt
        Table rows of running requests that lose their slots before the step.
    max_num_seqs
        Admit nobody while so many run.
    max_num_batched_tokens
        Compute no more tokens in the step.
    """

    preempt: IntArray
    max_num_seqs: int
    max_num_batched_tokens: int


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
    version
        Grows whenever a rank in the table changed: engines sort again when it did.
    """

    def __init__(
        self,
        policy: Policy,
        predictor: Predictor,
        guard: Guard,
        fallback: Policy,
        *,
        repredict_tokens: int = 50,
    ) -> None:
        self.table = LiveTable()
        self.failures = 0
        self.version = 0
        self._gates: tuple[int | None, int | None] = (None, None)
        self._planned_at: float | None = None
        self._solves: list[float] = []
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

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> Decision:
        """Decide about the next step; to be called once before every one.

        Writes each request's place into `table.rows["rank"]`.
        """
        table = self.table
        self._predict()
        again = self._guard.tick(table.rows, table.live())
        preempt = nobody()
        if (again or table.version != self._planned_version) and len(table):
            preempt = self._renew(now, limits, latency)
        seqs, tokens = self._gates
        return Decision(
            preempt, seqs or limits.max_num_seqs, tokens or limits.max_num_batched_tokens
        )

    def _renew(self, now: float, limits: EngineLimits, latency: LinearLatency) -> IntArray:
        table = self.table
        snapshot, rows = table.snapshot(now, limits, latency)
        started = perf_counter()
        plan = self._plan(snapshot)
        self._solves.append(perf_counter() - started)
        table.rows["rank"][rows[plan.order]] = np.arange(len(rows))
        self._planned_version = table.version
        self._planned_at = now
        self._gates = plan.max_num_seqs, plan.max_num_batched_tokens
        self.version += 1
        preempt: IntArray = rows[plan.preempt]
        return preempt

    def plan_age(self, now: float) -> float:
        """Seconds since the snapshot of the plan in force was taken; 0 before any."""
        return 0.0 if self._planned_at is None else now - self._planned_at

    def take_solves(self) -> list[float]:
        """Return the seconds of each solve that ended since this was last asked."""
        solves, self._solves = self._solves, []
        return solves

    def take_errors(self) -> list[tuple[str, float]]:
        """Return ("first_token" or "finish", actual minus predicted seconds) since last asked."""
        return []

    def warm_up(self, limits: EngineLimits, latency: LinearLatency) -> None:
        """Solve for made-up requests in the calling thread, so that kernels are compiled."""
        table = LiveTable()
        samples = [Request(f"warm-up-{i}", 0.0, 16, Slo(ttft=1.0)) for i in range(2)]
        rows = [table.add(sample) for sample in samples]
        for _ in range(2):
            table.predict(_Blind(), self._repredict_tokens)
            self._plan(table.snapshot(0.0, limits, latency)[0])
            if not table.rows["running"][rows[0]]:
                table.admit(rows[0])

    def close(self) -> None:
        """Stop planning."""

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
