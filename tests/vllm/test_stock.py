"""How far requests have come: by compiled loops, which must agree with their plain twins.

That the table is right before every step of a real scheduler is checked by the harness, under
all tests that use it.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.live import LiveTable
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.policies.fcfs import Fcfs
from slosched.policies.sjf import Sjf
from slosched.vllm import kernels
from tests.vllm.harness import AtRandom, Engine, Job, make_planner

both_depths = pytest.mark.parametrize("depth", [1, 2])


def table_of(waiting: list[bool]) -> LiveTable:
    table = LiveTable()
    for i, waits in enumerate(waiting):
        row = table.add(Request(str(i), 0.0, 10, Slo(ttft=1.0)))
        table.rows["running"][row] = not waits
        table.rows["produced"][row] = 7 * i % 5
    return table


@given(
    ranks=st.lists(st.integers(-(2**61), 2**63 - 1), min_size=1, max_size=20, unique=True),
    data=st.data(),
)
def test_places_sort_who_decodes_before_prompts_then_by_rank(
    ranks: list[int], data: st.DataObject
) -> None:
    live = table_of([False] * len(ranks)).rows
    live["rank"][: len(ranks)] = ranks
    prompts = data.draw(st.lists(st.booleans(), min_size=len(ranks), max_size=len(ranks)))
    goal = np.array(prompts, dtype=np.int64)  # of contexts of 0 tokens
    rows = np.arange(len(ranks))
    places, ordered = kernels.places(live, rows, goal)
    behind_all = 2**61  # all ranks beyond are no plan's
    expected = sorted(rows.tolist(), key=lambda i: (prompts[i], min(ranks[i], behind_all)))
    assert places.argsort(kind="stable").tolist() == expected
    assert ordered == (expected == rows.tolist())


def test_the_unplanned_go_last() -> None:
    live = table_of([False, False]).rows
    places, ordered = kernels.places(live, np.array([-1, 1, 0]), np.zeros(2, dtype=np.int64))
    assert places.argmax() == 0
    assert not ordered


@both_depths
def test_plain_decoding_and_prefill_need_no_look_at_each_request(
    tiny_model: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(tiny_model, make_planner(Sjf()), depth=depth)
    looks: list[object] = []
    look_at_all = engine.scheduler._stock._look_at_all

    def looking(scheduled: dict[str, int]) -> object:
        looks.append(scheduled)
        return look_at_all(scheduled)

    monkeypatch.setattr(engine.scheduler._stock, "_look_at_all", looking)
    engine.add(*(Job(f"job{i}", 9 + 30 * i % 91, 3 + i) for i in range(12)))
    engine.run()
    engine.check_empty()
    assert not engine.caught
    assert not looks


@both_depths
def test_a_step_half_noted_is_made_good(
    tiny_model: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 14: after an error the table is right again before the next plan."""
    engine = Engine(tiny_model, make_planner(AtRandom(np.random.default_rng(0))), depth=depth)
    stock = engine.scheduler._stock
    failing = iter([False, True, False, False, True, True])

    class Unreliable:
        def __getattr__(self, name: str) -> object:
            if name == "advance" and next(failing, False):
                raise RuntimeError("unreliable")
            return getattr(kernels, name)

    monkeypatch.setattr(stock, "_kernels", Unreliable())
    jobs = [Job(f"job{i}", 9 + 30 * i % 91, 3 + i) for i in range(12)]
    engine.add(*jobs)
    engine.run()
    assert engine.outputs == {job.name: job.expected for job in jobs}
    engine.check_empty()
    assert engine.scheduler._shield.failures == 3


def test_tokens_that_vllm_takes_back_are_taken_back_here(tiny_model: Path) -> None:
    """As after drafts that the model rejects."""
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("one", 20, 30), Job("two", 30, 30))
    for _ in range(4):
        engine.step()
    scheduler, table = engine.scheduler, engine.planner.table
    [one, two] = scheduler.running
    table.rows["context"] += 3
    table.rows["produced"] += 3
    scheduler._stock.correct(scheduler.running)
    assert [table.rows["context"][i] for i in (0, 1)] == [
        one.num_computed_tokens,
        two.num_computed_tokens,
    ]
    engine.run()
    assert not engine.caught


def test_a_table_that_grows_is_followed(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(*(Job(f"job{i}", 10 + i % 30, 3 + i % 5) for i in range(150)))
    engine.run()
    engine.check_empty()
    assert not engine.caught
