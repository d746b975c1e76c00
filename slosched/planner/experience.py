"""Experience: what the planner learns from what came of plans and predictions."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from slosched.core.plan import Plan
from slosched.core.protocols import Concurrent, Learner, Predictor
from slosched.core.request import Request
from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray
from slosched.planner.expectations import Ended, Expectations, Outcome
from slosched.planner.lengths import Usual, predict
from slosched.planner.margin import Fixed, Margin, MarginRule

_SHORTEST = 20  # steps; what is nearer comes true by the step, and tells nothing about their time
_KEPT = 1000  # of what nobody takes


class Mishap(NamedTuple):
    """Something that went wrong and was survived: what, in which part, and how."""

    event: str
    part: object
    error: BaseException


class Experience:
    """Predicts lengths and learns from what happened, in the thread that solves.

    The engine only says who ended. Predictors may take as long as solvers: neither is asked inside
    a step, but for policies that merely sort, which do it all there.

    Parameters
    ----------
    predictor
        Asked before the first plan after an arrival, and again every `every` output tokens.
    margin
        How the margin follows what is seen.

    Attributes
    ----------
    margin
        The factor between the latency model and what the policy is told.
    usual
        What is expected of who was not predicted yet.
    errors
        "first_token" or "finish", and by how many seconds it came later than planned; the newest.
    """

    def __init__(self, predictor: Predictor, every: int, margin: MarginRule) -> None:
        self.margin = Margin(margin)
        self.usual = Usual()
        self.errors: deque[tuple[str, float]] = deque(maxlen=_KEPT)
        self._every, self._rule = every, margin
        self._meet(predictor)
        self._expectations = Expectations()
        self._ended: deque[Ended] = deque(maxlen=_KEPT)
        self._taken_back: deque[float] = deque()

    def afresh(self) -> "Experience":
        """Return the same without any experience, but for the predictor's own."""
        return Experience(self._predictor, self._every, Fixed())

    def under(self, predictor: Predictor) -> "Experience":
        """Return the same under another predictor, which has yet to learn."""
        other = Experience(predictor, self._every, self._rule)
        other.margin, other.usual = self.margin, self.usual
        return other

    def change(self, predictor: Predictor, every: int, margin: MarginRule) -> None:
        """Go on with another predictor, or by another rule; nobody may be solving meanwhile."""
        self._meet(predictor)
        self._every = every
        if margin != self._rule:
            self._rule, self.margin = margin, Margin(margin)

    def _meet(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._learner = predictor if isinstance(predictor, Learner) else None
        self._concurrent = predictor if isinstance(predictor, Concurrent) else None

    def ended(self, ended: Ended) -> None:
        """Hear of a request that came to its end; may be called from another thread."""
        self._ended.append(ended)

    def take_back(self, said_at: float) -> None:
        """Hear that a plan of that time never came into force; as `ended`."""
        self._taken_back.append(said_at)

    def learn(self, snapshot: Snapshot, rows: IntArray) -> list[Mishap]:
        """Learn from whatever happened before a snapshot; return what went wrong."""
        mishaps = []
        while self._taken_back:
            self._expectations.forget(self._taken_back.popleft())
        self._judge(self._expectations.first_tokens(snapshot, rows), snapshot.latency.base)
        while self._ended:
            ended = self._ended.popleft()
            self._judge(self._expectations.ended(ended), snapshot.latency.base)
            self.usual.learn(ended.output_tokens)
            try:
                if self._learner is not None:
                    self._learner.observe(ended.request, ended.output_tokens)
            except (Exception, SystemExit) as error:
                mishaps.append(Mishap("learning_failed", self._learner, error))
        return mishaps

    def predict(
        self, snapshot: Snapshot, due: IntArray, requests: Sequence[Request]
    ) -> list[Mishap]:
        """Write into a snapshot how long answers are expected to be; return what went wrong."""
        if not len(due):
            return []
        try:
            predict(snapshot.live, due, requests, self._predictor, self._every)
        except (Exception, SystemExit) as error:
            predict(snapshot.live, due, requests, self.usual, self._every)
            return [Mishap("prediction_failed", self._predictor, error)]
        return []

    def improved(self) -> Sequence[str]:
        """Ids of the requests that the predictor found out more about, since last asked."""
        return self._concurrent.improved() if self._concurrent else ()

    def take_predictions(self) -> Sequence[float]:
        """Seconds that the predictor took to find out about one of them, since last asked."""
        return self._concurrent.take_seconds() if self._concurrent else ()

    def take_errors(self) -> list[Mishap]:
        """Return what went wrong with that, since last asked."""
        if self._concurrent is None:
            return []
        errors = self._concurrent.take_errors()
        return [Mishap("prediction_failed", self._concurrent, error) for error in errors]

    def close(self) -> None:
        """Let the predictor's thread end, if it has one."""
        if self._concurrent is not None:
            self._concurrent.close()

    def expect(self, snapshot: Snapshot, rows: IntArray, plan: Plan) -> None:
        """Remember what a plan says, to be held against what comes."""
        self._expectations.note(snapshot, rows, plan)

    def _judge(self, outcomes: Iterable[Outcome], step: float) -> None:
        factor = self.margin.factor  # what the plans reckoned with, or nearly so
        for outcome in outcomes:
            self.errors.append((outcome.what, outcome.error))
            if outcome.what == "finish" and outcome.horizon > _SHORTEST * step:
                self.margin.learn(outcome.stretch * factor)
