"""How records become requests: merged, classed, and given times."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import Slo, SloClass, TraceError
from slosched.traces import TraceRecord
from slosched.traces.workload import Arrivals, AssignRule, Gamma, Poisson, Recorded, build

CLASSES = {
    "chat": SloClass("chat", Slo(ttft=1.0, weight=2.0)),
    "code": SloClass("code", Slo(e2e=3.0)),
    "batch": SloClass("batch", Slo(e2e=30.0)),
}


def trace(source: str, times: list[float]) -> list[TraceRecord]:
    return [TraceRecord(str(i), t, i + 1, i + 2, source) for i, t in enumerate(sorted(times))]


traces = st.lists(st.lists(st.floats(0, 1e4), max_size=8), min_size=1, max_size=3).map(
    lambda many: [trace(f"t{i}", times) for i, times in enumerate(many)]
)
arrivals = st.one_of(
    st.just(Recorded()),
    st.builds(Poisson, st.floats(0.1, 100)),
    st.builds(Gamma, st.floats(0.1, 100), st.floats(0.1, 5)),
)


@given(traces, arrivals, st.floats(0.1, 10))
def test_merging_keeps_every_record_and_the_order_of_time(
    many: list[list[TraceRecord]], process: Arrivals, load: float
) -> None:
    found = build(many, CLASSES, "chat", arrivals=process, load=load)
    records = [record for records in many for record in records]
    key = lambda r: (r.source, r.output_tokens)  # noqa: E731
    assert sorted(map(key, found)) == sorted(map(key, records))
    assert all(a.request.arrival <= b.request.arrival for a, b in pairwise(found))
    assert len({r.request.request_id for r in found}) == len(found)
    for source in {r.source for r in found}:
        inputs = [r.request.input_tokens for r in found if r.source == source]
        assert inputs == sorted(inputs)


@given(traces, arrivals, st.integers(0, 9))
def test_the_same_seed_gives_the_same_requests(
    many: list[list[TraceRecord]], process: Arrivals, seed: int
) -> None:
    rules = [AssignRule("batch", share=0.5)]
    backwards = dict(reversed(CLASSES.items()))
    first = build(many, CLASSES, "chat", rules=rules, arrivals=process, seed=seed)
    assert build(many, backwards, "chat", rules=rules, arrivals=process, seed=seed) == first


@given(traces, arrivals, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_load_divides_the_times_and_changes_nothing_else(
    many: list[list[TraceRecord]], process: Arrivals, load: float
) -> None:
    rules = [AssignRule("batch", share=0.5)]
    plain = build(many, CLASSES, "chat", rules=rules, arrivals=process)
    scaled = build(many, CLASSES, "chat", rules=rules, arrivals=process, load=load)
    for a, b in zip(plain, scaled, strict=True):
        assert b == replace(a, request=replace(a.request, arrival=a.request.arrival / load))


@given(traces, arrivals)
def test_arrivals_do_not_change_who_gets_which_class(
    many: list[list[TraceRecord]], process: Arrivals
) -> None:
    rules = [AssignRule("batch", share=0.5)]
    recorded = build(many, CLASSES, "chat", rules=rules)
    drawn = build(many, CLASSES, "chat", rules=rules, arrivals=process)
    assert [r.request.slo_class for r in recorded] == [r.request.slo_class for r in drawn]


@pytest.mark.parametrize(
    ("process", "cv"),
    [(Poisson(4.0), 1.0), (Gamma(4.0, 0.5), 0.5), (Gamma(4.0, 1.0), 1.0), (Gamma(4.0, 3.0), 3.0)],
)
def test_drawn_gaps_have_the_rate_and_variation_asked_for(process: Arrivals, cv: float) -> None:
    times = process.times(np.zeros(200_000), np.random.default_rng(1))
    gaps = np.diff(times)
    assert times[0] == 0
    assert gaps.min() >= 0
    assert 1 / gaps.mean() == pytest.approx(4.0, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_the_first_rule_that_matches_wins() -> None:
    rules = [AssignRule("code", source="a"), AssignRule("batch", share=0.3)]
    many = [trace("a", [0.0] * 500), trace("b", [0.0] * 20_000)]
    found = build(many, CLASSES, "chat", rules=rules)
    assert {r.request.slo_class for r in found if r.source == "a"} == {"code"}
    of_b = [r.request.slo_class for r in found if r.source == "b"]
    assert set(of_b) == {"batch", "chat"}
    assert of_b.count("batch") / len(of_b) == pytest.approx(0.3, abs=0.01)


def test_a_share_is_of_those_that_reach_the_rule() -> None:
    rules = [AssignRule("batch", share=0.5), AssignRule("code", share=0.5)]
    found = build([trace("a", [0.0] * 20_000)], CLASSES, "chat", rules=rules)
    names = [r.request.slo_class for r in found]
    assert names.count("code") / len(names) == pytest.approx(0.25, abs=0.01)
    assert names.count("chat") / len(names) == pytest.approx(0.25, abs=0.01)


def test_shares_of_nothing_and_of_all() -> None:
    rules = [AssignRule("batch", share=0.0), AssignRule("code", share=1.0)]
    found = build([trace("a", [0.0] * 100)], CLASSES, "chat", rules=rules)
    assert {r.request.slo_class for r in found} == {"code"}


def test_a_records_own_class_and_limits_win() -> None:
    bare = TraceRecord("0", 0.0, 1, 1, "a")
    records = [
        bare,
        replace(bare, request_id="1", slo_class="chat"),
        replace(bare, request_id="2", slo_class="chat", tpot=0.1),
        replace(bare, request_id="3", ttft=0.5),
    ]
    found = build([records], CLASSES, "chat", rules=[AssignRule("batch")])
    assert [(r.request.slo_class, r.request.slo) for r in found] == [
        ("batch", CLASSES["batch"].slo),
        ("chat", CLASSES["chat"].slo),
        ("chat", Slo(inf, 0.1, inf, 2.0)),
        ("batch", Slo(0.5, inf, inf, 1.0)),
    ]


def test_everything_else_of_a_record_is_kept() -> None:
    record = TraceRecord(
        "x", 2.0, 3, 4, "a", "Why?", (1, 2), priority=7, tenant="acme", max_tokens=9
    )
    (found,) = build([[record]], CLASSES, "chat")
    assert (found.output_tokens, found.source, found.hash_ids) == (4, "a", (1, 2))
    request = found.request
    assert (request.request_id, request.arrival, request.input_tokens) == ("x", 2.0, 3)
    assert request.max_tokens == 9
    assert (request.prompt, request.priority, request.tenant) == ("Why?", 7, "acme")


def test_ids_name_their_trace_only_where_several_are_merged() -> None:
    a, b = trace("a", [0.0, 2.0]), trace("b", [1.0])
    assert [r.request.request_id for r in build([a], CLASSES, "chat")] == ["0", "1"]
    merged = build([a, b], CLASSES, "chat")
    assert [r.request.request_id for r in merged] == ["a/0", "b/0", "a/1"]


def test_nothing_gives_nothing() -> None:
    assert build([], CLASSES, "chat", arrivals=Poisson(1.0)) == []
    assert build([[]], CLASSES, "chat", arrivals=Gamma(1.0, 2.0)) == []


def test_traces_of_the_same_name_are_an_error() -> None:
    with pytest.raises(TraceError, match="must differ in their file names"):
        build([trace("a", [0.0]), trace("a", [0.0])], CLASSES, "chat")


def test_an_unknown_class_in_a_trace_is_an_error() -> None:
    record = TraceRecord("7", 0.0, 1, 1, "a", slo_class="chatt")
    with pytest.raises(TraceError, match=r"a: request 7: no class 'chatt', did you mean chat\?"):
        build([[record]], CLASSES, "chat")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no class 'x'"):
        build([], CLASSES, "x")
    with pytest.raises(ValueError, match=r"no class 'bach', did you mean batch\?"):
        build([], CLASSES, "chat", rules=[AssignRule("bach")])
    for load in (0.0, -1.0, inf, float("nan")):
        with pytest.raises(ValueError, match="load must be greater than 0"):
            build([], CLASSES, "chat", load=load)
    for number in (0.0, -1.0, inf, float("nan")):
        with pytest.raises(ValueError, match="rate must be greater than 0"):
            Poisson(number)
        with pytest.raises(ValueError, match="cv must be greater than 0"):
            Gamma(1.0, number)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share must be from 0 to 1"):
            AssignRule("chat", share=share)
