"""Calibrated quantiles: as many of the answers are below each as it says."""

import numpy as np
import pytest

from slosched.core.errors import ModelError
from slosched.predictors.calibration import LEVELS, calibration_from
from slosched.predictors.head import HeadKind
from slosched.training.conformal import LEAST, calibrate


def answers(
    kind: HeadKind, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of a head that knows something, what is out, what is to come, and who was cut off."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(4.5, 1.0, n)
    said = truth[:, None] + rng.normal(0, 0.8, (n, 1))
    produced = rng.choice([0, 60, 150, 500], n)
    left = np.maximum(np.rint(np.exp(truth) / (1 + produced / 300)), 1).astype(np.int64)
    if kind == "quantile":
        said = said + np.linspace(-0.3, 0.3, len(LEVELS))  # much too sure
    return said.astype(np.float32), produced, left, np.zeros(n, dtype=np.bool_)


@pytest.mark.parametrize("kind", ["regression", "ranking", "quantile"])
def test_each_level_has_its_share_below_it(kind: HeadKind) -> None:
    calibration = calibrate(kind, *answers(kind, 4000, 0))
    outputs, produced, left, _ = answers(kind, 4000, 1)
    quantiles = calibration.quantiles(kind, outputs, produced)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    below = (left[:, None] <= quantiles).mean(axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=0.03)
    for start in (0, 60, 150, 500):
        group = produced == start
        covered = (left[group, None] <= quantiles[group]).mean(axis=0)
        np.testing.assert_allclose(covered, LEVELS, atol=0.07)


@pytest.mark.parametrize("kind", ["ranking", "quantile"])
def test_bounds_on_answers_do_not_make_them_seem_shorter(kind: HeadKind) -> None:
    """Levels that were reached before most bounds hold as if there had been none."""
    outputs, produced, left, _ = answers(kind, 8000, 0)
    most = np.random.default_rng(2).integers(60, 400, len(left))
    calibration = calibrate(kind, outputs, produced, np.minimum(left, most), left >= most)
    outputs, produced, left, _ = answers(kind, 8000, 1)
    quantiles = calibration.quantiles(kind, outputs, produced)
    below = (left[:, None] <= quantiles).mean(axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=0.05)
    naive = calibrate(
        kind, outputs, produced, np.minimum(left, most), np.zeros(len(left), dtype=np.bool_)
    ).quantiles(kind, outputs, produced)
    assert naive.mean() < 0.9 * quantiles.mean()


def test_where_all_are_cut_off_the_longest_is_all_that_is_known() -> None:
    outputs, produced, left, _ = answers("ranking", 200, 0)
    calibration = calibrate(
        "ranking", outputs, produced * 0, left * 0 + 50, np.ones(200, dtype=np.bool_)
    )
    assert calibration.quantiles("ranking", outputs, produced * 0) == pytest.approx(50)


def test_the_longer_it_is_said_to_be_the_longer_it_is() -> None:
    calibration = calibrate("ranking", *answers("ranking", 1000, 0))
    scores = np.linspace(-2, 12, 60, dtype=np.float32)[:, None]
    quantiles = calibration.quantiles("ranking", scores, np.zeros(60, dtype=np.int64))
    assert (np.diff(quantiles, axis=0) >= -1e-6).all()


def test_it_is_the_same_out_of_a_file() -> None:
    calibration = calibrate("regression", *answers("regression", 300, 0))
    outputs, produced, *_ = answers("regression", 50, 1)
    again = calibration_from(calibration.tensors())
    np.testing.assert_array_equal(
        again.quantiles("regression", outputs, produced),
        calibration.quantiles("regression", outputs, produced),
    )


def test_too_few_answers() -> None:
    with pytest.raises(ModelError, match=f"at least {LEAST} answers, got 10"):
        calibrate("regression", *answers("regression", 10, 0))
