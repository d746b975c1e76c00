"""A simulated engine by somebody else's clock: the same as by its own, and clients may hang up."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.request import TracedRequest
from slosched.core.snapshot import EngineLimits
from slosched.planner import Planner
from slosched.policies.bounded_passes import BoundedPasses
from slosched.policies.edf import Edf
from slosched.policies.least_slack import LeastSlack
from slosched.predictors.history import History
from slosched.sim.engine import SimulatedEngine
from slosched.sim.online import OnlineEngine, Said
from slosched.sim.options import EngineOptions
from tests.sim.test_engine import STOCK, request
from tests.strategies import LATENCY, traces

LIMITS = EngineLimits(4, 64, 16, 100)


def simulated(options: EngineOptions) -> SimulatedEngine:
    planner = None
    if options.scheduler == "slosched":
        planner = Planner(Edf(), History(), BoundedPasses(), LeastSlack())
    return SimulatedEngine(planner, LIMITS, LATENCY, options=options)


def by_clock(
    engine: SimulatedEngine, trace: Sequence[TracedRequest], ticks: Sequence[float]
) -> list[Said]:
    """Serve a trace whose requests are told of when they come, looking at other times, too."""
    online = OnlineEngine(engine)
    said: list[Said] = []
    times = sorted({*ticks, *(traced.request.arrival for traced in trace)})
    for now in [*times, 1e9]:
        said += online.advance(now)
        for traced in trace:
            if traced.request.arrival == now:
                online.submit(traced, now)
    return said


@given(
    traces(max_size=12), st.lists(st.floats(0.0, 20.0), max_size=10), st.booleans(), st.booleans()
)
def test_it_serves_as_by_its_own_clock(
    trace: list[TracedRequest], ticks: list[float], ours: bool, overlap: bool
) -> None:
    """Law 3: whoever asks when, requests end when they would have ended.

    Up to a step: by its own clock an engine whose slots are empty begins with all requests that
    came by then; asked from outside it begins with the first.
    """
    options = EngineOptions("slosched" if ours else "vllm-fcfs", async_scheduling=overlap)
    expected = simulated(options).run(trace)
    said = by_clock(simulated(options), trace, ticks)
    ends = {one.number: one for one in said if one.over}
    served = np.flatnonzero(~np.isnan(expected.finish))
    assert len(ends) == len(served)
    assert sum(one.tokens for one in ends.values()) == expected.output_tokens[served].sum()
    assert all(a.at <= b.at for a, b in pairwise(said))
    for number in ends:
        counts = [one.tokens for one in said if one.number == number]
        assert counts == list(range(1, counts[-1] + 1))


def test_requests_far_apart_end_when_they_would_have_ended() -> None:
    trace = [request(i, 100.0 * i, prompt=40 + i, output=7) for i in range(5)]
    expected = simulated(STOCK).run(trace)
    ends = [one.at for one in by_clock(simulated(STOCK), trace, []) if one.over]
    np.testing.assert_allclose(ends, expected.finish)


@given(
    st.lists(st.tuples(st.integers(0, 7), st.floats(0.0, 5.0)), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_who_hangs_up_leaves_nothing_behind(
    leave: list[tuple[int, float]], ours: bool, overlap: bool
) -> None:
    """Laws 1 and 2: the others end whole, and no KV block is left when all are gone."""
    engine = simulated(EngineOptions("slosched" if ours else "vllm-fcfs", async_scheduling=overlap))
    online = OnlineEngine(engine)
    free = engine.free_blocks
    numbers = [online.submit(request(i, 0.0, prompt=30, output=40), 0.0) for i in range(8)]
    said: list[Said] = []
    for who, when in sorted(leave, key=lambda pair: pair[1]):
        said += online.advance(when)
        online.abort(numbers[who] or 0)
    said += online.advance(1e9)
    ended = {one.number: one.tokens for one in said if one.over}
    assert set(ended) >= set(range(8)) - {who for who, _ in leave}
    assert set(ended.values()) <= {40}
    assert engine.free_blocks == free
    assert engine.running == engine.waiting == 0
    assert online.next_at == inf


def test_a_row_that_is_used_again_has_nothing_of_its_last_request() -> None:
    online = OnlineEngine(simulated(EngineOptions()))
    first = online.submit(request(0, 0.0, prompt=30, output=40), 0.0)
    said = list(online.advance(0.2))
    assert said
    assert first is not None
    online.abort(first)
    second = online.submit(request(1, 0.2, prompt=30, output=3), 0.2)
    assert [one.tokens for one in online.advance(1e9) if one.number == second] == [1, 2, 3]


def test_a_request_that_can_never_be_served() -> None:
    online = OnlineEngine(simulated(STOCK))
    assert online.submit(request(0, 0.0, prompt=10_000), 0.0) is None
    assert online.submit(request(0, 0.0), 0.0) == 1


def test_a_slower_engine() -> None:
    ends = []
    for factor in (1.0, 2.0):
        engine = simulated(STOCK)
        engine.go_slower(factor)
        online = OnlineEngine(engine)
        online.submit(request(0, 0.0), 0.0)
        ends.append(list(online.advance(1e9))[-1].at)
    assert ends[1] == pytest.approx(2 * ends[0])
