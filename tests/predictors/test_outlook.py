"""From quantiles to thirds: laws."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slosched.predictors.calibration import LEVELS
from slosched.predictors.outlook import likely, thirds, weighed
from slosched.predictors.sketch import BINS, CENTRES

QUANTILES = st.lists(st.floats(1, 5000), min_size=len(LEVELS), max_size=len(LEVELS)).map(
    lambda values: np.sort(np.array(values))[None, :]
)
FLAT = np.full(BINS, 1 / BINS)


@given(QUANTILES)
def test_shares_add_up_and_keep_the_quantiles(quantiles: np.ndarray) -> None:
    shares = likely(quantiles)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    below = np.cumsum(shares[0])
    for level, tokens in zip(LEVELS, quantiles[0], strict=True):
        at = round(6 * float(np.log2(tokens)))
        assert at < 3 or below[at - 3] <= level + 1e-9
        assert below[min(at + 5, BINS - 1)] >= level - 1e-9


@given(QUANTILES, st.integers(0, 3000), st.integers(0, 3000))
def test_thirds_ascend_and_what_was_ruled_out_is_out(
    quantiles: np.ndarray, at: int, more: int
) -> None:
    left = thirds(likely(quantiles), np.array([at]), np.array([at + more]))[0]
    assert (np.diff(left) >= -1e-6).all()
    assert (left > 0).all()


@given(QUANTILES, st.integers(0, 3000))
def test_without_experience_the_model_has_the_last_word(quantiles: np.ndarray, at: int) -> None:
    shares = likely(quantiles)
    same = weighed(shares, np.array([at]), FLAT[None, :], FLAT)
    np.testing.assert_allclose(same, shares, atol=1e-12)


def test_a_class_of_short_answers_makes_answers_shorter() -> None:
    shares = likely(np.geomspace(10, 1000, len(LEVELS))[None, :])
    short = np.exp(-CENTRES / 30) * CENTRES
    held = weighed(shares, np.array([0]), (short / short.sum())[None, :], FLAT)
    nobody = np.array([0])
    assert thirds(held, nobody, nobody).mean() < 0.5 * thirds(shares, nobody, nobody).mean()


def test_an_answer_beyond_all_that_was_expected_is_expected_to_go_on_as_long_again() -> None:
    shares = likely(np.full((1, len(LEVELS)), 10.0))
    left = thirds(shares, np.array([0]), np.array([500]))
    np.testing.assert_allclose(left, [[100, 500, 2500]])
