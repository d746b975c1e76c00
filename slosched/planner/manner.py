"""The manner of planning: who plans, by which lengths, where, and how often."""

from dataclasses import dataclass, field

from slosched.core.protocols import Concurrent, Guard, Policy, Predictor, Standing, StepCounter
from slosched.planner.margin import Learned, MarginRule
from slosched.planner.workers import Inline, Worker


@dataclass(frozen=True, slots=True)
class Manner:
    """All about a planner that may change while it plans; see `Planner` for the parameters."""

    policy: Policy
    predictor: Predictor
    guard: Guard
    repredict_tokens: int = 25
    worker: Worker = field(default_factory=Inline)
    margin: MarginRule = field(default_factory=Learned)
    max_plan_age: float = 1.0
    patience: float = 1.0
    standing: Standing | None = None

    @property
    def counter(self) -> StepCounter | None:
        """The guard, if it counts steps."""
        return self.guard if isinstance(self.guard, StepCounter) else None

    @property
    def kind(self) -> str:
        """What makes the plans: the kind of the policy's solver, or of the policy itself."""
        maker = getattr(self.policy, "solver", self.policy)
        return str(getattr(maker, "kind", type(maker).__name__))

    def close(self, *, but: Predictor | None = None) -> None:
        """Stop what works in threads of its own, but for one predictor that is still needed."""
        self.worker.close()
        if self.predictor is not but and isinstance(self.predictor, Concurrent):
            self.predictor.close()
