"""Law 13 for vllm-ltr's guard, and its rule against the published one written again."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, Plan, Request, Slo
from slosched.core.live import LiveTable
from slosched.core.types import IntArray
from slosched.policies.guard import IdleSteps
from tests.strategies import LATENCY


@dataclass
class Published:
    """vllm-ltr's scheduler, in the words of arXiv 2408.15792 and of its code."""

    threshold: int
    period: int
    lengths: dict[str, int] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    quantum: dict[str, int] = field(default_factory=dict)
    priority: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, length: int) -> None:
        self.lengths[name] = length
        self.idle[name] = self.quantum[name] = self.priority[name] = 0

    def remove(self, name: str) -> None:
        for book in (self.lengths, self.idle, self.quantum, self.priority):
            del book[name]

    def promoted(self) -> list[str]:
        """Promote and demote, as is done before each step; the front of the sorted queue."""
        for name in self.lengths:
            if self.idle[name] >= self.threshold:
                self.priority[name], self.idle[name] = -1, 0
                self.quantum[name] = self.period
            elif self.priority[name] == -1 and self.quantum[name] <= 0:
                self.priority[name] = 0
        by_score = sorted(self.lengths, key=lambda r: (self.priority[r], self.lengths[r] // 10))
        return [name for name in by_score if self.priority[name] == -1]

    def execute(self, names: set[str]) -> None:
        for name in self.lengths:
            if name in names:
                self.idle[name] = 0
                self.quantum[name] -= self.priority[name] == -1
            else:
                self.idle[name] += 1


class Twins:
    """The published rule and ours, kept in step."""

    def __init__(self, guard: IdleSteps) -> None:
        self.guard, self.published = guard, Published(guard.idle, guard.quantum)
        self.table, self.born = LiveTable(), 0
        self.before: list[str] = []

    def add(self, length: int) -> None:
        name = f"r{self.born}"
        row = self.table.add(Request(name, float(self.born), 10, Slo()))
        self.table.rows["first_guess"][row] = self.table.rows["length"][row] = length
        self.published.add(name, length)
        self.born += 1

    def remove(self, name: str) -> None:
        self.table.remove(name)
        self.published.remove(name)

    def step(self, executed: set[str]) -> list[str]:
        """Promote, compare, execute; return who was promoted."""
        table = self.table
        changed = self.guard.tick(table.rows, table.live())
        snapshot, rows = table.snapshot(0.0, EngineLimits(), LATENCY)
        found = [table.request(int(rows[row])).request_id for row in self.guard.promoted(snapshot)]
        assert found == self.published.promoted()
        # Who has gone since is no change of the guard's.
        assert changed == (set(found) != set(self.before) & set(self.published.lengths))
        self.before = found
        self.published.execute(executed)
        for name in self.published.lengths:
            table.rows["running"][table.row(name)] = name in executed
        return found


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_the_guard_is_the_published_one(idle: int, quantum: int, data: st.DataObject) -> None:
    """Over any history of arrivals, ends, and steps with work for some."""
    twins = Twins(IdleSteps(idle=idle, quantum=quantum))
    for _ in range(data.draw(st.integers(5, 40))):
        for length in data.draw(st.lists(st.integers(1, 60), max_size=2)):
            twins.add(length)
        names = list(twins.published.lengths)
        if names and data.draw(st.integers(0, 5)) == 0:
            twins.remove(data.draw(st.sampled_from(names)))
        names = list(twins.published.lengths)
        twins.step({name for name in names if data.draw(st.booleans())})


@settings(max_examples=100)
@given(st.integers(1, 4), st.integers(2, 20), st.data())
def test_nobody_goes_without_work_for_long(slots: int, idle: int, data: st.DataObject) -> None:
    """Law 13: whatever the policy, with as many live requests as the quantum leaves time for."""
    quantum = data.draw(st.integers(1, 3))
    most = max((slots * idle - 1) // quantum + 1, 1)  # (n - 1) * quantum < slots * idle
    n = data.draw(st.integers(1, min(most, 30)))
    guard = IdleSteps(idle=idle, quantum=quantum)
    twins = Twins(guard)
    for length in data.draw(st.lists(st.integers(1, 100), min_size=n, max_size=n)):
        twins.add(length)
    random = data.draw(st.randoms(use_true_random=False))
    names = list(twins.published.lengths)
    favourites = random.sample(names, n)  # whom the policy serves first, again and again
    longest, waited = idle + (n - 1) * quantum / slots + 1, dict.fromkeys(names, 0)
    for _ in range(6 * idle):
        if random.random() < 0.1:
            random.shuffle(favourites)
        guard.tick(twins.table.rows, twins.table.live())
        snapshot, rows = twins.table.snapshot(0.0, EngineLimits(max_num_seqs=slots), LATENCY)
        order = np.array([names.index(name) for name in favourites])
        plan = Plan(order).promote(guard.promoted(snapshot))
        executed = plan.order[:slots]
        twins.table.rows["running"][rows] = np.isin(np.arange(n), executed)
        for place, name in enumerate(names):
            waited[name] = 0 if place in executed else waited[name] + 1
        assert max(waited.values()) <= longest


def promoted_after(steps: int, executed: bool, guard: IdleSteps) -> IntArray:
    table = LiveTable()
    row = table.add(Request("r", 0.0, 10, Slo()))
    for _ in range(steps + 1):  # the first tick comes before the first step
        guard.tick(table.rows, table.live())
        table.rows["running"][row] = executed
    return guard.promoted(table.snapshot(0.0, EngineLimits(), LATENCY)[0])


def test_two_hundred_steps_without_work_promote() -> None:
    assert not len(promoted_after(199, False, IdleSteps()))
    assert len(promoted_after(200, False, IdleSteps()))
    assert not len(promoted_after(1000, True, IdleSteps()))


def test_no_steps_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="idle must be at least 1 step, got 0"):
        IdleSteps(idle=0)
    with pytest.raises(ValueError, match="quantum must be at least 1 step, got 0"):
        IdleSteps(quantum=0)
