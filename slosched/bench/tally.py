"""How far a replay is, and how well it goes so far."""

from collections import Counter
from dataclasses import dataclass, field

from slosched.client.answer import SHED, Answer
from slosched.core.request import TracedRequest


@dataclass(slots=True)
class Tally:
    """Counts requests as they go out and come back.

    Attributes
    ----------
    sent, done
        Requests that went out, and that were answered whole.
    errors
        Requests that were not, by kind.
    """

    sent: int = 0
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _met: float = 0.0
    _weight: float = 0.0

    @property
    def shed(self) -> int:
        """Requests that the server refused as it had too many."""
        return self.errors[SHED]

    @property
    def failed(self) -> int:
        """Requests that ended in any other error."""
        return self.errors.total() - self.shed

    @property
    def in_flight(self) -> int:
        """Requests that went out and have not come back."""
        return self.sent - self.done - self.errors.total()

    @property
    def attainment(self) -> float | None:
        """Weighted share of SLOs met among those that came back; None before the first."""
        return self._met / self._weight if self._weight else None

    def describe(self) -> str:
        """Say all this in a line."""
        met = "" if self.attainment is None else f", SLO met {100 * self.attainment:.1f}%"
        return (
            f"sent {self.sent}, in flight {self.in_flight}, done {self.done}, "
            f"failed {self.failed}, shed {self.shed}{met}"
        )

    def ended(self, traced: TracedRequest, answer: Answer, due: float) -> None:
        """Note how a request ended that should have gone out at `due`."""
        slo = traced.request.slo
        self._weight += slo.weight
        if answer.error:
            self.errors[answer.error] += 1
            return
        self.done += 1
        pace = (answer.last - answer.first) / max(answer.tokens - 1, 1)
        if slo.attained(answer.first - due, pace, answer.last - due):
            self._met += slo.weight
