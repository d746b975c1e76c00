"""How runs are named, ranked and held against each other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import SloschedError
from slosched.report.harm import harm
from slosched.report.requests import Requests
from slosched.report.results import Result
from slosched.report.runs import Run, distinct


def run(
    policy: str,
    load: float | None = None,
    share: float = 0.5,
    file: str = "a.json",
    requests: Requests | None = None,
) -> Run:
    fields: dict[str, Any] = {"policy": policy, "load": load, "slo_attainment": share}
    result = Result.model_validate(fields | {"completed": 1, "per_class": {}})
    return Run(policy, file, result, requests)


def served(e2e: list[float], met: list[bool], ids: list[str] | None = None) -> Requests:
    n = len(e2e)
    seconds, none = np.array(e2e), np.full(n, np.inf)
    names = [f"r{i}" for i in range(n)] if ids is None else ids
    return Requests(
        names, ["c"] * n, np.array(met), seconds / 2, np.zeros(n), seconds, none, none, none,
        np.arange(n, dtype=np.float64), np.full(n, np.nan), np.ones(n), np.ones(n),
    )  # fmt: skip


policies = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, 1.0, 2.0]), st.sampled_from("xy")),
    min_size=1,
    max_size=9,
)


@given(policies)
def test_every_run_has_a_name_of_its_own(named: list[tuple[str, float | None, str]]) -> None:
    """Whatever runs are joined, none hides another, and `--run` finds each by its title."""
    runs = distinct([run(policy, load, file=file) for policy, load, file in named])
    titles = [one.title for one in runs.runs]
    assert len(set(titles)) == len(named)
    assert [runs.named(title) for title in titles] == runs.runs
    assert sorted(runs.labels) == sorted({one.label for one in runs.runs})
    assert sum(len(runs.ranked(load)) for load in runs.loads) == len(named)


def test_files_are_named_only_where_it_takes_them() -> None:
    two = [run("edf", 1.0, file="a.json"), run("edf", 1.0, file="b.json"), run("sjf", 1.0)]
    assert [one.label for one in distinct(two).runs] == ["edf (a.json)", "edf (b.json)", "sjf"]
    same = [run("edf", 1.0), run("edf", 1.0), run("edf", 2.0)]
    assert [one.title for one in distinct(same).runs] == [
        "edf (a.json)@1", "edf (a.json) #2@1", "edf (a.json)@2",
    ]  # fmt: skip


def test_policies_are_sorted_by_what_they_attain_at_the_highest_load() -> None:
    runs = distinct([
        run("a", 1.0, 0.9), run("b", 1.0, 0.8), run("c", 1.0, 0.99),
        run("a", 2.0, 0.3), run("b", 2.0, 0.4),
    ])  # fmt: skip
    assert runs.labels == ["b", "a", "c"]  # c was not run there
    assert runs.best().title == "b@2"
    assert runs.named("a").title == "a@2"


def test_fcfs_is_what_others_are_held_against_or_else_the_first() -> None:
    runs = distinct([run("edf", 1.0), run("fcfs", 1.0), run("edf", 2.0), run("sjf", 2.0)])
    assert runs.reference(1.0).title == "fcfs@1"
    assert runs.reference(2.0).title == "edf@2"


def test_the_best_run_is_one_whose_requests_are_known() -> None:
    known = served([1.0], [True])
    runs = distinct([run("a", 1.0, 0.9), run("b", 1.0, 0.5, requests=known)])
    assert runs.best().label == "b"


@pytest.mark.parametrize(
    ("title", "hint"), [("eddf@1", "did you mean edf@1"), ("zzz", "there are edf@1, sjf@1")]
)
def test_an_unknown_run_is_refused(title: str, hint: str) -> None:
    runs = distinct([run("edf", 1.0), run("sjf", 1.0)])
    with pytest.raises(SloschedError, match=f"--run {title}: no such run, {hint}"):
        runs.named(title)


def test_who_was_hurt_is_found_whatever_the_order() -> None:
    there = served([1.0, 2.0, 4.0, np.nan, 3.0], [True, True, False, False, True])
    here = served(
        [3.0, np.nan, 8.0, 2.0, 1.0],
        [False, False, False, True, True],
        ["r4", "r1", "r0", "r2", "r3"],
    )
    found = harm(run("b", requests=here), run("a", requests=there))
    assert found is not None
    (trade,) = found.trades()
    assert (trade.requests, trade.lost, trade.won, trade.slower) == (5, 3, 2, 2)
    assert [(h.request_id, h.slowdown) for h in found.lost()] == [
        ("r1", np.inf), ("r0", 8.0), ("r4", 1.0),
    ]  # fmt: skip
    assert [h.request_id for h in found.slowest()] == ["r1", "r0"]
    assert found.lost()[1].e2e == (1.0, 8.0)
    assert found.lost()[1].met == (True, False)


def test_other_requests_cannot_be_compared() -> None:
    one = run("a", requests=served([1.0], [True]))
    assert harm(one, run("b")) is None
    assert harm(one, run("b", requests=served([1.0], [True], ["other"]))) is None
    assert harm(one, run("b", requests=served([1.0, 2.0], [True, True]))) is None


outcomes = st.tuples(st.floats(0.1, 9), st.booleans(), st.floats(0.1, 9), st.booleans())


@given(st.lists(outcomes, min_size=1))
def test_trades_add_up(rows: list[tuple[float, bool, float, bool]]) -> None:
    """Met here = met there - lost + won."""
    there = served([a for a, _, _, _ in rows], [b for _, b, _, _ in rows])
    here = served([c for _, _, c, _ in rows], [d for _, _, _, d in rows])
    found = harm(run("b", requests=here), run("a", requests=there))
    assert found is not None
    lost = sum(trade.lost for trade in found.trades())
    won = sum(trade.won for trade in found.trades())
    assert here.met.sum() == there.met.sum() - lost + won
