"""Sums that need no memory of single requests, against those that have it."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import EngineLimits, Request, Slo, TracedRequest
from slosched.sim.engine import SimulatedEngine
from slosched.sim.histogram import BINS, LEAST, RATIO, Histogram
from slosched.sim.options import EngineOptions
from slosched.sim.summary import summarize
from slosched.sim.tally import Tally
from tests.strategies import LATENCY, engine_limits, traces

STOCK = EngineOptions("vllm-fcfs")


@given(st.lists(st.floats(1e-6, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_that_of_a_neighbour_within_half_a_bin(
    times: list[float], percent: float
) -> None:
    spread = Histogram()
    for seconds in times:
        spread.add(seconds)
    exact = np.percentile(times, percent, method="inverted_cdf")
    assert spread.percentile(percent) == pytest.approx(exact, rel=0.0026)
    assert spread.mean == pytest.approx(np.mean(times))
    assert spread.std == pytest.approx(np.std(times), abs=1e-6 * max(times))


@pytest.mark.parametrize(
    ("seconds", "counts_as"),
    [(0.0, LEAST), (-1.0, LEAST), (1e-9, LEAST), (1e30, LEAST * RATIO**BINS)],
)
def test_what_is_out_of_range_counts_at_its_end(seconds: float, counts_as: float) -> None:
    spread = Histogram()
    spread.add(seconds)
    assert spread.count == 1
    assert spread.percentile(50) == pytest.approx(counts_as, rel=0.01)


@given(traces(), engine_limits())
def test_a_tally_says_what_a_summary_says(trace: list[TracedRequest], limits: EngineLimits) -> None:
    exact = summarize(SimulatedEngine(None, limits, LATENCY, options=STOCK).run(trace))
    engine, tally = SimulatedEngine(None, limits, LATENCY, options=STOCK), Tally()
    for ended in engine.serve(trace):
        tally.add(ended)
    streamed = tally.summary(engine)
    assert streamed.keys() == exact.keys()
    assert streamed["per_class"].keys() == exact["per_class"].keys()
    for mine, theirs in ((streamed, exact), *_by_class(streamed, exact)):
        for key, value in mine.items():
            if theirs[key] is None:
                assert value is None
            elif key != "per_class" and not key.startswith(("median", "p99")):
                assert value == pytest.approx(theirs[key], rel=1e-6, abs=1e-3), key


def _by_class(one: dict[str, dict], other: dict[str, dict]) -> list[tuple[dict, dict]]:  # type: ignore[type-arg]
    return [(one["per_class"][name], other["per_class"][name]) for name in one["per_class"]]


def test_an_engine_takes_a_trace_that_never_ends() -> None:
    """It reads one request ahead, and no more."""
    taken = []

    def endless() -> Iterator[TracedRequest]:
        for i in range(10**9):
            taken.append(i)
            yield TracedRequest(Request(f"r{i}", i * 0.5, 20, Slo()), 5)

    engine = SimulatedEngine(None, EngineLimits(4, 64, 16, 100), LATENCY, options=STOCK)
    served = list(islice(engine.serve(endless()), 1000))
    assert len(served) == 1000
    assert len(taken) < 1010
