"""The latency model and its fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import LinearLatency, fit
from slosched.core.types import FloatArray


def shapes(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.column_stack(
        (rng.integers(0, 512, n), rng.integers(0, 32, n), rng.integers(0, 40_000, n))
    ).astype(float)


@given(
    st.tuples(st.floats(1e-3, 0.1), st.floats(0, 1e-2), st.floats(0, 1e-2), st.floats(0, 1e-5)),
    st.integers(0, 99),
)
def test_a_fit_finds_the_model_that_made_the_steps(
    coefficients: tuple[float, float, float, float], seed: int
) -> None:
    truth = LinearLatency(*coefficients)
    steps = shapes(np.random.default_rng(seed), 60)
    seconds = np.array([truth.step(*step) for step in steps])
    found = fit(steps, seconds)
    np.testing.assert_allclose([found.step(*step) for step in steps], seconds, rtol=1e-6)


def test_a_fit_of_noisy_steps_is_close_and_never_negative() -> None:
    rng = np.random.default_rng(1)
    truth = LinearLatency(0.04, 1e-3, 1.5e-3, 4e-6)
    steps = shapes(rng, 400)
    seconds = np.array([truth.step(*step) for step in steps]) * rng.lognormal(0, 0.1, 400)
    found = fit(steps, seconds)
    assert found.per_prefill_token == pytest.approx(1e-3, rel=0.1)


def test_what_steps_do_not_show_is_left_at_zero() -> None:
    steps = np.column_stack((np.zeros(10), np.arange(1, 11), np.zeros(10)))
    found = fit(steps, 0.03 - 0.001 * steps[:, 1])  # more sequences, faster steps: no such engine
    assert found.per_sequence == found.per_prefill_token == found.per_context_token == 0
    assert found.base > 0


@pytest.mark.parametrize(
    ("steps", "seconds", "complaint"),
    [
        (np.ones((3, 3)), np.ones(3), "at least 4 steps"),
        (np.ones((4, 3)), np.array([1, 1, 1, 0.0]), "positive time"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    steps: FloatArray, seconds: FloatArray, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        fit(steps, seconds)


@pytest.mark.parametrize(
    "coefficients", [(0, 0, 0, 0), (1, -1, 0, 0), (1, 0, -1, 0), (1, 0, 0, -1)]
)
def test_a_model_with_a_negative_slope_is_refused(
    coefficients: tuple[float, float, float, float],
) -> None:
    with pytest.raises(ValueError, match="must"):
        LinearLatency(*coefficients)
