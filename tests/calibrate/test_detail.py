"""Laws of the fit of the detailed model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import LinearLatency
from slosched.calibrate.detail import Detailed, fit_in_detail
from slosched.calibrate.error import by_regime
from slosched.calibrate.fit import Fitted, fit
from slosched.calibrate.observation import Observation, Regime
from slosched.core.detailed_latency import DetailedLatency
from tests.calibrate.test_fit import observed as without_visits

LEVELS = (1, 2, 4, 8)
rises = st.lists(st.floats(0, 0.01), min_size=3, max_size=3)
models = st.builds(
    lambda base, prefill, context, prompt_step, rise, overhead: Detailed(
        DetailedLatency(
            base, prefill, context, prompt_step,
            tuple(zip(LEVELS, np.cumsum([0, *rise]).tolist(), strict=True)),
        ),
        overhead,
    ),
    st.floats(1e-3, 0.1), st.floats(0, 1e-2), st.floats(0, 1e-5), st.floats(0, 0.02), rises,
    st.floats(0, 0.05),
)  # fmt: skip
LINE = Fitted(LinearLatency(0.03, 1e-4, 1e-3, 1e-6), 0.005)


def observed(truth: Detailed) -> list[Observation]:
    """Prompts alone, decoding, and prompts beside sequences that decode, as the truth has them."""
    visits = [
        Observation(Regime.mixed, f"{p} by {n}", 3, 2, p, 3 * n, 3 * n * 50, 0, 1.0)
        for n in (1, 4)
        for p in (300, 500)
    ]
    burst = Observation(Regime.burst, "8", 2, 2, 400, 8, 400, 1, 1.0)
    found = [*without_visits(LINE), *visits, burst]
    seconds = truth.seconds(found)
    return [replace(o, seconds=float(s)) for o, s in zip(found, seconds, strict=True)]


@given(models)
def test_a_fit_finds_the_model_that_made_the_times(truth: Detailed) -> None:
    measured = observed(truth)
    found = fit_in_detail(measured)
    assert found is not None
    assert [number for number, _ in found.latency.sequences] == list(LEVELS)
    np.testing.assert_allclose(found.seconds(measured), truth.seconds(measured), rtol=1e-3)


def test_it_is_closer_than_a_line_where_sequences_come_in_pairs() -> None:
    stairs = ((1, 0.0), (2, 0.0), (4, 0.001), (8, 0.016))
    truth = Detailed(DetailedLatency(0.05, 1e-3, 1e-6, 0.01, stairs), 0.005)
    measured = observed(truth)
    found = fit_in_detail(measured)
    assert found is not None
    line = by_regime(fit(measured), measured)
    detailed = by_regime(found, measured)
    for regime in ("decode", "mixed", "burst"):
        assert detailed[regime].p90 < 1e-3
        assert line[regime].p90 > 1e-2
    assert found.latency.prompt_step == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("regime", [Regime.prefill, Regime.decode, Regime.mixed])
def test_without_all_kinds_of_steps_there_is_no_detail(regime: Regime) -> None:
    truth = Detailed(DetailedLatency.of(LINE.latency), 0.0)
    assert fit_in_detail([o for o in observed(truth) if o.regime is not regime]) is None


def test_bursts_are_not_fitted() -> None:
    measured = observed(Detailed(DetailedLatency.of(LINE.latency), 0.005))
    slow = [replace(o, seconds=9.0) if o.regime is Regime.burst else o for o in measured]
    assert fit_in_detail(slow) == fit_in_detail(measured)
