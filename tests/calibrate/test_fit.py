"""Laws of the robust fit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import LinearLatency, SloschedError
from slosched.calibrate.error import by_case, by_regime
from slosched.calibrate.fit import Fitted, fit
from slosched.calibrate.observation import Observation, Regime

models = st.builds(
    Fitted,
    st.builds(
        LinearLatency, st.floats(1e-3, 0.1), st.floats(0, 1e-2), st.floats(0, 1e-2),
        st.floats(0, 1e-5),
    ),
    st.floats(0, 0.05),
)  # fmt: skip


def observed(truth: Fitted, noise: float = 0.0, seed: int = 0) -> list[Observation]:
    """Prompts of many lengths, and decoding at many widths and contexts, as the truth has them."""
    found = [
        Observation(Regime.prefill, f"{n}", -(-n // 256), -(-n // 256), n, 0, 0, 1, 1.0)
        for n in (16, 30, 64, 128, 300, 700, 1500)
    ]
    found += [
        Observation(Regime.decode, f"{n} x {c}", 8, 0, 0, 8 * n, 8 * n * c, 0, 1.0)
        for n in (1, 2, 4, 8)
        for c in (16, 400, 1600)
    ]
    factors = np.random.default_rng(seed).lognormal(0, noise, len(found))
    seconds = truth.seconds(found) * factors
    return [replace(o, seconds=float(s)) for o, s in zip(found, seconds, strict=True)]


@given(models)
def test_a_fit_finds_the_model_that_made_the_times(truth: Fitted) -> None:
    measured = observed(truth)
    np.testing.assert_allclose(fit(measured).seconds(measured), truth.seconds(measured), rtol=1e-4)


@given(models, st.floats(0.01, 100))
def test_a_slower_clock_changes_nothing_else(truth: Fitted, factor: float) -> None:
    measured = observed(truth, noise=0.05)
    slower = [replace(o, seconds=factor * o.seconds) for o in measured]
    np.testing.assert_allclose(
        fit(slower).seconds(measured), factor * fit(measured).seconds(measured), rtol=1e-4
    )


@given(models, st.randoms(use_true_random=False))
def test_the_order_of_measurements_does_not_matter(truth: Fitted, random: object) -> None:
    measured = observed(truth, noise=0.05)
    shuffled = list(measured)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        fit(shuffled).seconds(measured), fit(measured).seconds(measured), rtol=1e-3
    )


@settings(max_examples=30)
@given(models, st.integers(0, 99))
def test_what_disturbed_a_tenth_of_the_measurements_hardly_shows(truth: Fitted, seed: int) -> None:
    measured = [o for copy in range(5) for o in observed(truth, 0.01, seed + copy)]
    rng = np.random.default_rng(seed)
    for i in rng.choice(len(measured), len(measured) // 10, replace=False):
        measured[i] = replace(measured[i], seconds=measured[i].seconds * rng.uniform(1.5, 4))
    off = fit(measured).seconds(measured) / truth.seconds(measured) - 1
    assert np.median(np.abs(off)) < 0.03
    assert np.abs(off).max() < 0.2


@given(st.lists(st.floats(1e-3, 10), min_size=19, max_size=19))
def test_whatever_was_measured_no_coefficient_is_negative(seconds: list[float]) -> None:
    measured = observed(Fitted(LinearLatency(1, 1, 1, 1), 1))
    found = fit([replace(o, seconds=s) for o, s in zip(measured, seconds, strict=True)])
    model = found.latency
    assert model.base > 0
    assert min(model.per_prefill_token, model.per_sequence, model.per_context_token) >= 0
    assert found.overhead >= 0


def test_what_no_measurement_shows_is_left_at_zero() -> None:
    truth = Fitted(LinearLatency(0.03, 1e-4, 1e-3, 1e-6), 0.0)
    measured = [replace(o, requests=0, context=0) for o in observed(truth)]
    found = fit(measured)
    assert (found.overhead, found.latency.per_context_token) == (0, 0)


def test_checks_are_not_fitted() -> None:
    truth = Fitted(LinearLatency(0.03, 1e-4, 1e-3, 1e-6), 0.005)
    measured = observed(truth)
    check = replace(measured[0], regime=Regime.mixed, seconds=99.0)
    with_check = fit([*measured, check])
    assert with_check == fit(measured)
    errors = by_regime(with_check, [*measured, check])
    assert list(errors) == ["prefill", "decode", "mixed"]
    assert errors["mixed"].bias < -0.9
    assert errors["prefill"].median < 1e-4
    assert errors["decode"].measurements == 12


def test_errors_are_shown_by_what_was_measured() -> None:
    truth = Fitted(LinearLatency(0.03, 1e-4, 1e-3, 1e-6), 0.005)
    measured = observed(truth)
    twice = [replace(o, seconds=2 * o.seconds) for o in measured]
    cases = by_case(truth, [*measured, *twice])
    assert {case.measurements for case in cases} == {2}
    assert [case.what for case in cases][:2] == ["16", "30"]
    decode = next(case for case in cases if case.what == "1 x 16")
    assert decode.modelled_ms == pytest.approx(31.016)  # of one step
    assert decode.measured_ms == pytest.approx(1.5 * 31.016)
    assert decode.error == pytest.approx(-0.25)


@pytest.mark.parametrize("missing", [Regime.prefill, Regime.decode])
def test_a_fit_needs_both_kinds_of_steps(missing: Regime) -> None:
    measured = observed(Fitted(LinearLatency(1, 1, 1, 1), 1))
    with pytest.raises(SloschedError, match="prompts and of decoding"):
        fit([o for o in measured if o.regime is not missing])
