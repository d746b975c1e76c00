"""The safety margin, alone and in a simulated engine that is slower than believed."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import EngineLimits, Request, Slo, TracedRequest
from slosched.planner import Charged, Fixed, Learned, Margin, Planner
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import NoGuard
from slosched.policies.planned import Planned
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched.sim.options import EngineOptions
from slosched.sim.truth import NoisySteps
from slosched_solvers.anneal import Anneal
from tests.strategies import LATENCY


@given(st.lists(st.floats(0, 1e12)), st.floats(0.01, 0.99), st.floats(1, 3))
def test_the_factor_stays_in_its_bounds_and_moves_by_small_steps(
    stretches: list[float], quantile: float, most: float
) -> None:
    margin = Margin(Learned(quantile=quantile, most=most, rate=0.05))
    for stretch in stretches:
        before = margin.factor
        margin.learn(stretch)
        assert 1 <= margin.factor <= most * (1 + 1e-12)
        assert abs(np.log(margin.factor / before)) <= 0.05 + 1e-12  # outliers count like others
        assert (margin.factor >= before) if stretch > before else (margin.factor <= before)


@pytest.mark.parametrize("quantile", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_factor_finds_the_quantile_among_outliers(quantile: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    margin = Margin(Learned(quantile=quantile, most=9.0))
    stretches = 1.5 * np.exp(0.2 * rng.standard_normal(6000))
    stretches[rng.random(6000) < 0.02] = 1e6
    factors = []
    for stretch in stretches:
        margin.learn(float(stretch))
        factors.append(margin.factor)
    assert np.median(factors[2000:]) == pytest.approx(np.quantile(stretches, quantile), rel=0.03)


def test_a_fixed_factor_learns_nothing() -> None:
    margin = Margin(Fixed(factor=1.2))
    margin.learn(7.0)
    assert margin.factor == 1.2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quantile": 0.0}, "quantile"),
        ({"quantile": 1.0}, "quantile"),
        ({"most": 0.9}, "most"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
    ],
)
def test_parameters_out_of_bounds_are_named(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Learned(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="factor"):
        Fixed(factor=0.5)


def steady_load(n: int, rate: float) -> list[TracedRequest]:
    rng = np.random.default_rng(11)
    times = np.cumsum(rng.exponential(1 / rate, n))
    return [
        TracedRequest(
            Request(f"r{i}", float(time), int(rng.integers(10, 200)), Slo(ttft=2.0, e2e=20.0)),
            int(rng.integers(20, 150)),
        )
        for i, time in enumerate(times)
    ]


def margin_after(trace: Sequence[TracedRequest], slower: float, sigma: float) -> float:
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    policy = Planned(Anneal(time_budget_ms=None, move_budget=0))
    planner = Planner(
        policy, lengths, NoGuard(), Fcfs(), worker=Charged(0.005), margin=Learned(quantile=0.5)
    )
    truth = NoisySteps(LATENCY, slower, sigma, seed=5)
    # Asynchronous scheduling is a margin of its own; and an engine that learns needs none.
    options = EngineOptions(async_scheduling=False, learns_latency=False)
    SimulatedEngine(planner, EngineLimits(8, 512, 16, 5000), LATENCY, truth, options).run(trace)
    assert planner.failures == 0
    return planner.margin.factor


@pytest.mark.parametrize(
    ("slower", "sigma", "learnt"),
    [
        (1.0, 0.0, (1.0, 1.06)),
        (1.3, 0.0, (1.24, 1.36)),
        (1.0, 0.5, (1.07, 1.22)),  # lognormal: a step takes exp(0.125) = 1.13 on average
        (5.0, 0.0, (1.99, 2.01)),  # no more than `most`
    ],
)
def test_an_engine_slower_than_believed_is_found_out(
    slower: float, sigma: float, learnt: tuple[float, float]
) -> None:
    """And one that is as believed leaves no margin, as little as its own plans change."""
    least, most = learnt
    assert least <= margin_after(steady_load(200, 2.0), slower, sigma) <= most
