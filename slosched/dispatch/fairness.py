"""Fairness between tenants inside a class: nobody who waits falls behind by more than a bound.

Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), count the tokens that each
client was served, and serve next who has the fewest (section 4.1, the virtual token counter). Here
the plan goes first: its order holds as long as the counters of those who wait are within `slack`
of each other.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

Flow = tuple[str, str]  # class and tenant

_MANY = 1024  # counters, beyond which those that say nothing are dropped


@dataclass(frozen=True)
class Fairness:
    """How far a plan may prefer one tenant over another of the same class.

    Parameters
    ----------
    slack_tokens
        Tokens of prompts and answers, over its weight, by which a tenant may be ahead of another
        one that waits and still be next; inf for no fairness.
    weights
        Shares of tenants; 1 for who is not named.

    Raises
    ------
    ValueError
        If a figure is out of bounds.
    """

    slack_tokens: float = 20_000.0
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.slack_tokens >= 0:
            raise ValueError(f"slack_tokens must be at least 0, got {self.slack_tokens}")
        for tenant, weight in self.weights.items():
            if not 0 < weight < inf:
                raise ValueError(f"weights.{tenant} must be greater than 0, got {weight}")


class Counters:
    """What each tenant of each class was served, in tokens over its weight.

    While two tenants of a class both wait, their counters differ by at most the slack plus what
    the largest request counts. So over any time in which both wait, what they are served differs
    by at most twice that. A request counts when it is sent, by its prompt and the answer that is
    expected; `correct` puts that right when the answer has ended.

    Attributes
    ----------
    fairness
        May be replaced at any time.
    """

    def __init__(self, fairness: Fairness) -> None:
        self.fairness = fairness
        self._served: dict[Flow, float] = {}
        self._waiting: dict[str, Counter[str]] = {}
        self._floor: dict[str, float] = {}  # where who comes to an empty class begins

    def arrives(self, flow: Flow) -> None:
        """Hear that a request waits; a tenant that had none saved nothing up in the meantime."""
        slo_class, tenant = flow
        waiting = self._waiting.setdefault(slo_class, Counter())
        if not waiting[tenant]:
            self._tidy_up()
            floor = self.least(slo_class)
            self._served[flow] = max(self._served.get(flow, 0.0), floor)
        waiting[tenant] += 1

    def leaves(self, flow: Flow) -> None:
        """Hear that a request waits no more, whether it was sent or is gone."""
        slo_class, tenant = flow
        waiting = self._waiting[slo_class]
        if len(waiting) == 1 and waiting[tenant] == 1:
            self._floor[slo_class] = self._served[flow]
        waiting[tenant] -= 1
        if not waiting[tenant]:
            del waiting[tenant]

    def charge(self, flow: Flow, tokens: float) -> None:
        """Count tokens that a tenant is served; fewer than none to take some back."""
        weight = self.fairness.weights.get(flow[1], 1.0)
        self._served[flow] = self._served.get(flow, 0.0) + tokens / weight

    def served(self, flow: Flow) -> float:
        """Return a tenant's counter."""
        return self._served.get(flow, 0.0)

    def least(self, slo_class: str) -> float:
        """Return the least counter of those who wait in a class."""
        waiting = self._waiting.get(slo_class)
        if not waiting:
            return self._floor.get(slo_class, 0.0)
        return min(self._served[slo_class, tenant] for tenant in waiting)

    def overdue(self, flow: Flow) -> Flow | None:
        """Who has to go before a request of some tenant; None if that one may go itself."""
        slo_class, _ = flow
        waiting = self._waiting.get(slo_class)
        if not waiting or len(waiting) == 1:
            return None
        behind = min(waiting, key=lambda tenant: (self._served[slo_class, tenant], tenant))
        ahead = self.served(flow) - self._served[slo_class, behind]
        return (slo_class, behind) if ahead > self.fairness.slack_tokens else None

    def _tidy_up(self) -> None:
        """Forget whoever does not wait and would begin at the floor anyway."""
        if len(self._served) <= 2 * sum(map(len, self._waiting.values())) + _MANY:
            return
        floors = {slo_class: self.least(slo_class) for slo_class in self._waiting}
        self._served = {
            (slo_class, tenant): served
            for (slo_class, tenant), served in self._served.items()
            if tenant in self._waiting[slo_class] or served > floors[slo_class]
        }
