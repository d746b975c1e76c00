"""The section `planner`: where plans are solved, how often, and with what margin."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from slosched.config.parts import POLICIES
from slosched.core.protocols import Guard, Policy, Predictor, Standing
from slosched.planner import Beside, Charged, Fixed, Inline, Learned, Planner, Worker
from slosched.policies.guard import NoGuard
from slosched.policies.least_slack import LeastSlack
from slosched.policies.unions import by_kind

# Measured on one core: 200 to 470 with 158 to 17 requests that may still be on time and one
# scenario of lengths, a third of that with three.
MOVES_PER_MS = 100
# What a solve takes beside its budget: the snapshot, lengths by experience, the starts, the check
# and the thread's waking. Measured on one core with up to 800 live requests.
ALLOWANCE_MS = 2.0


class PlannerSettings(BaseModel):
    """How planning runs beside the engine.

    `solve_ms` is what a solve is charged in virtual time: null for the solver's budget and what
    comes on top, 0 to solve in the step and free of charge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repredict_tokens: int = Field(default=25, ge=1)
    max_plan_age_ms: float = Field(default=1000.0, gt=0)
    patience_ms: float = Field(default=1000.0, gt=0)
    margin: Annotated[Learned | Fixed, *by_kind("learned")] = Field(default_factory=Learned)
    solve_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    def build(
        self, policy: Policy, predictor: Predictor, guard: Guard, *, offline: bool
    ) -> Planner:
        """Return a fresh planner; offline, in virtual time."""
        return Planner(
            policy,
            predictor,
            guard,
            LeastSlack(),
            repredict_tokens=self.repredict_tokens,
            worker=self._worker(policy, offline=offline),
            margin=self.margin,
            max_plan_age=self.max_plan_age_ms / 1e3,
            patience=self.patience_ms / 1e3,
            standing=policy
            if isinstance(policy, Standing) and isinstance(guard, NoGuard)
            else None,
        )

    def _worker(self, policy: Policy, *, offline: bool) -> Worker:
        if _is_key(policy):
            return Inline()
        if not offline:
            return Beside()
        solve_ms = solve_time_ms(policy) if self.solve_ms is None else self.solve_ms
        return Charged(solve_ms / 1e3) if solve_ms > 0 else Inline()


def solve_time_ms(policy: Policy) -> float:
    """Return what a solve is charged in virtual time: its budget, and what comes on top."""
    maker = getattr(policy, "solver", policy)
    moves, seconds = (getattr(maker, name, None) for name in ("move_budget", "time_limit_s"))
    budgets = [
        getattr(maker, "time_budget_ms", None),
        None if moves is None else moves / MOVES_PER_MS,
        None if seconds is None else seconds * 1e3,
    ]
    return min((ms for ms in budgets if ms is not None), default=0.0) + ALLOWANCE_MS


def _is_key(policy: Policy) -> bool:
    """Whether a policy of ours merely sorts, which is done at once; who knows of others."""
    of: type[object] = type(policy)
    searches = hasattr(policy, "solver") or hasattr(policy, "move_budget")
    return of in POLICIES.values() and not searches
