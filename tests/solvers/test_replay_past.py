"""The past once more: laws of whoever serves it, and the rollout as its twin."""

from itertools import pairwise
from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.fleet import NOWHERE, Engine
from slosched.core.live import LiveTable
from slosched.core.past import Past
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched_solvers.instance import build
from slosched_solvers.replay_past import replay_past
from slosched_solvers.rollout_reference import rollout_reference
from tests.strategies import LATENCY, engine_limits


@st.composite
def pasts(draw: st.DrawFn, *, at_once: bool = False) -> Past:
    n = draw(st.integers(1, 25))
    times = st.just(0.0) if at_once else st.floats(0, 5)
    return Past(
        np.array([draw(times) for _ in range(n)]),
        np.array([draw(st.integers(1, 300)) for _ in range(n)]),
        np.array([draw(st.integers(1, 60)) for _ in range(n)]),
    )


def fleets(most: int = 3) -> st.SearchStrategy[list[Engine]]:
    one = st.builds(
        lambda limits, slower: Engine(limits, LATENCY.slower(slower)),
        engine_limits(),
        st.floats(0.5, 4.0),
    )
    return st.lists(one, min_size=1, max_size=most)


def anywhere(past: Past) -> np.ndarray:
    return np.full(len(past), NOWHERE)


@given(pasts(), fleets(), st.data())
def test_law_1_everybody_is_served_and_nobody_faster_than_alone(
    past: Past, engines: list[Engine], data: st.DataObject
) -> None:
    place = np.array([data.draw(st.integers(NOWHERE, len(engines) - 1)) for _ in range(len(past))])
    turn = np.array([data.draw(st.floats(-9, 9)) for _ in range(len(past))])
    first, finish = replay_past(past, engines, turn, place)
    best = min(engine.latency.base for engine in engines)
    assert np.isfinite(finish).all()
    assert (first >= past.arrival + best - 1e-9).all()
    assert (finish - first >= (past.output_tokens - 1) * best - 1e-9).all()


def test_whoever_comes_during_a_step_is_not_part_of_it() -> None:
    """Nor is it where somebody has left whose prompt the step before computed."""
    engine = Engine(EngineLimits(2, 64, 16, 1000), LATENCY)
    arrival = np.array([1.0, 1.0, 1.0 + 4.5 * LATENCY.base])
    past = Past(arrival, np.full(3, 1), np.array([17, 1, 1]))
    first, _ = replay_past(past, [engine], past.arrival, anywhere(past))
    assert first[2] >= arrival[2] + LATENCY.base


@given(pasts(at_once=True), st.integers(1, 5), st.floats(0.5, 4.0))
def test_law_7_of_those_who_come_together_the_rollout_says_the_same(
    past: Past, slots: int, slower: float
) -> None:
    """Where KV is no bound; with it, engines here wait for room where the rollout preempts."""
    limits, latency = EngineLimits(slots, 256, 16, 100_000), LATENCY.slower(slower)
    table = LiveTable()
    for i, (prompt, answer) in enumerate(zip(past.input_tokens, past.output_tokens, strict=True)):
        table.add(Request(f"r{i}", 0.0, int(prompt), Slo(e2e=1.0)), float(answer))
    snapshot, _ = table.snapshot(0.0, limits, latency)
    expected = rollout_reference(build(snapshot), np.arange(len(past)))
    found = replay_past(past, [Engine(limits, latency)], past.arrival, anywhere(past))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(pasts(), fleets(), st.data())
def test_engines_that_are_named_do_not_know_each_other(
    past: Past, engines: list[Engine], data: st.DataObject
) -> None:
    place = np.array([data.draw(st.integers(0, len(engines) - 1)) for _ in range(len(past))])
    first, finish = replay_past(past, engines, past.arrival, place)
    for r, engine in enumerate(engines):
        rows = np.flatnonzero(place == r)
        some = Past(past.arrival[rows], past.input_tokens[rows], past.output_tokens[rows])
        alone = replay_past(some, [engine], some.arrival, anywhere(some))
        np.testing.assert_array_equal((first[rows], finish[rows]), alone)


@given(pasts(), st.floats(0.5, 4.0), st.data())
def test_on_one_slot_whoever_waits_goes_by_turn(
    past: Past, slower: float, data: st.DataObject
) -> None:
    turn = np.array([data.draw(st.floats(-9, 9)) for _ in range(len(past))])
    engine = Engine(EngineLimits(1, 64, 16, 1000), LATENCY.slower(slower))
    first, finish = replay_past(past, [engine], turn, anywhere(past))
    order = np.argsort(first)
    began = np.concatenate(([-inf], finish[order][:-1]))
    for at, (one, other) in enumerate(pairwise(order)):
        if past.arrival[other] <= began[at]:  # it waited as well when the one was bound
            assert (turn[one], past.arrival[one]) <= (turn[other], past.arrival[other])


def test_whoever_has_room_first_gets_the_next() -> None:
    """Of two engines of one slot the fast one serves three while the slow one serves one."""
    past = Past(np.zeros(4), np.full(4, 10), np.full(4, 10))
    limits = EngineLimits(1, 256, 16, 1000)
    engines = [Engine(limits, LATENCY), Engine(limits, LATENCY.slower(3.5))]
    _, finish = replay_past(past, engines, past.arrival, anywhere(past))
    one = finish[0]
    np.testing.assert_allclose(finish, [one, 3.5 * one, 2 * one, 3 * one])
