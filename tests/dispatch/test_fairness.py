"""Law 17: between tenants of a class that both wait, service differs by no more than was said."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Fairness, Replica
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.dispatch.fairness import Counters
from slosched.predictors.oracle import Oracle
from slosched_solvers.fleet import FleetAnneal
from tests.strategies import LATENCY

TENANTS = "abc"
PLANNED = PlannedFleet(FleetAnneal(time_budget_ms=None, move_budget=50))


class Court:
    """A queue before one engine of two slots, and an account of its own of who got what."""

    def __init__(self, slack: float, weights: dict[str, float]) -> None:
        self.lengths: dict[str, int] = {}
        self.queue = Dispatcher(
            PLANNED, Oracle(lengths=self.lengths), fairness=Fairness(slack, weights)
        )
        self.queue.add_replica(Replica("one", EngineLimits(2, 256, 16, 4000), LATENCY))
        self.weights, self.served = weights, dict.fromkeys(TENANTS, 0.0)
        self.waiting: Counter[str] = Counter()
        self.largest = 0.0
        self.running: list[str] = []
        self.spans: dict[tuple[str, str], list[list[float]]] = {
            pair: [] for pair in combinations(TENANTS, 2)
        }

    def arrive(self, tenant: str, prompt: int, output: int) -> None:
        request_id = f"{tenant}{len(self.lengths)}"
        self.lengths[request_id] = output
        slo = Slo(ttft=0.5) if tenant == "a" else Slo(e2e=50.0)  # whom a plan prefers
        self.queue.submit(Request(request_id, 0.0, prompt, slo, "class", tenant))
        self.waiting[tenant] += 1
        self.note()

    def serve(self) -> None:
        """End the oldest answer, if any, and send whoever may go."""
        if self.running:
            done = self.running.pop(0)
            self.queue.on_token(done, 1, 1.0)
            self.queue.on_complete(done, self.lengths[done], 2.0)
        if self.queue.wants_plan:
            self.queue.take(self.queue.job(0.0).solve())
        for binding in self.queue.release():
            tenant = binding.request_id[0]
            tokens = self.prompts(binding.request_id) + self.lengths[binding.request_id]
            self.served[tenant] += tokens / self.weights[tenant]
            self.largest = max(self.largest, tokens / self.weights[tenant])
            self.waiting[tenant] -= 1
            self.running.append(binding.request_id)
            self.note(after=tenant)

    def prompts(self, request_id: str) -> int:
        return self.queue._lives[request_id].request.input_tokens

    def note(self, after: str = "") -> None:
        """Note by how much tenants differ, in spans in which both wait all the time."""
        for (one, two), spans in self.spans.items():
            wait = self.waiting[one] > 0 and self.waiting[two] > 0
            if wait and (not spans or spans[-1] == []):
                spans.append([])
            if wait or (after in (one, two) and spans and spans[-1]):
                spans[-1].append(self.served[one] - self.served[two])
            if not wait and spans and spans[-1]:
                spans.append([])


arrivals = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.integers(1, 200), st.integers(1, 100), st.booleans()),
    max_size=40,
)


@given(arrivals, st.sampled_from([0.0, 100.0, 1000.0]), st.sampled_from([1.0, 2.0, 0.5]))
def test_law_17_while_both_wait_neither_gets_far_ahead(
    arriving: list[tuple[str, int, int, bool]], slack: float, weight: float
) -> None:
    court = Court(slack, {"a": weight, "b": 1.0, "c": 1.0})
    for tenant, prompt, output, serves in arriving:
        court.arrive(tenant, prompt, output)
        if serves:
            court.serve()
    for _ in range(60):
        court.serve()
    assert not court.queue.waiting
    for spans in court.spans.values():
        for span in spans:
            assert np.ptp(span or [0.0]) <= 2 * (slack + court.largest) + 1e-6


@pytest.mark.parametrize(("slack", "fair"), [(100.0, True), (1e9, False)])
def test_a_tenant_of_many_does_not_keep_out_a_tenant_of_few(slack: float, *, fair: bool) -> None:
    """The plan would serve the many first: their limits are near, the others' far."""
    court = Court(slack, dict.fromkeys(TENANTS, 1.0))
    for _ in range(30):
        court.arrive("a", 20, 20)
    for _ in range(5):
        court.arrive("b", 20, 20)
    for _ in range(12):
        court.serve()
    assert (court.waiting["b"] == 0) == fair


def test_shares_follow_weights() -> None:
    court = Court(0.0, {"a": 1.0, "b": 3.0, "c": 1.0})
    for _ in range(60):
        court.arrive("a", 20, 20)
        court.arrive("b", 20, 20)
    for _ in range(40):
        court.serve()
    gone = {tenant: 60 - court.waiting[tenant] for tenant in "ab"}
    assert gone["b"] == pytest.approx(3 * gone["a"], abs=4)


def test_nothing_is_saved_up_by_who_does_not_wait() -> None:
    """Sheng et al., section 4.1: counters are lifted on arrival."""
    counters = Counters(Fairness(0.0))
    for _ in range(10):
        counters.arrives(("class", "busy"))
        counters.leaves(("class", "busy"))
        counters.charge(("class", "busy"), 1000.0)
    counters.arrives(("class", "busy"))
    counters.arrives(("class", "new"))
    assert counters.served(("class", "new")) == counters.served(("class", "busy"))
    assert counters.overdue(("class", "busy")) is None


def test_classes_are_counted_by_themselves() -> None:
    counters = Counters(Fairness(0.0))
    counters.arrives(("one", "a"))
    counters.arrives(("two", "b"))
    counters.charge(("one", "a"), 1000.0)
    assert counters.overdue(("one", "a")) is None


def test_tenants_that_are_gone_are_forgotten() -> None:
    counters = Counters(Fairness())
    for i in range(10_000):
        counters.arrives(("class", f"tenant {i}"))
        counters.leaves(("class", f"tenant {i}"))
    assert len(counters._served) < 2000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"slack_tokens": -1}, "slack_tokens"), ({"weights": {"a": 0.0}}, "weights.a")],
)
def test_what_is_out_of_bounds_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"{said} must be"):
        Fairness(**wrong)  # type: ignore[arg-type]
