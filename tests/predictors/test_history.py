"""What `history` expects, against the lengths that it was shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import Request, Slo
from slosched.predictors.history import History
from slosched.predictors.sketch import CENTRES, bin_of


def request(slo_class: str = "any", max_tokens: int | None = None) -> Request:
    return Request("r", 0.0, 10, Slo(), slo_class, max_tokens=max_tokens)


def taught(lengths: list[int]) -> History:
    """One that forgets nothing, and had next to no opinion before."""
    history = History(prior_weight=1e-9, half_life=1e12)
    for length in lengths:
        history.observe(request(), length)
    return history


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=60), st.integers(0, 4000))
def test_what_is_left_are_thirds_of_what_was_seen(lengths: list[int], produced: int) -> None:
    """By plain counting: every length stands for its bin, and those that are over are out."""
    (left,) = taught(lengths).remaining([request()], np.array([produced]))
    seen = np.array([CENTRES[bin_of(length)] for length in lengths])
    longer = seen[seen > produced]
    if not len(longer):
        expected = max(produced, 1) * np.array([0.2, 1, 5])
    else:  # each counts for three, so that they part into thirds
        expected = np.sort(np.repeat(longer, 3)).reshape(3, -1).mean(axis=1) - produced
    np.testing.assert_allclose(left, np.maximum(expected, 1), rtol=1e-6)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 900)), max_size=80),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2000)), min_size=1, max_size=30),
)
def test_every_request_is_answered_as_if_it_were_alone(
    seen: list[tuple[str, int]], asked: list[tuple[str, int]]
) -> None:
    history = History()
    for slo_class, length in seen:
        history.observe(request(slo_class), length)
    requests, produced = [request(c) for c, _ in asked], np.array([out for _, out in asked])
    together = history.remaining(requests, produced)
    assert together.shape == (len(asked), 3)
    assert (together >= 1).all()
    assert (np.diff(together, axis=1) >= -1e-6).all()
    for i, one in enumerate(requests):
        np.testing.assert_array_equal(together[i], history.remaining([one], produced[i : i + 1])[0])


def test_who_has_said_much_is_expected_to_say_more() -> None:
    history = History(prior_tokens=500)
    cold = history.remaining([request("short")], np.array([0]))[0]
    for _ in range(300):
        history.observe(request("short"), 20)
        history.observe(request("mixed"), 10)
        history.observe(request("mixed"), 1000)
    assert cold.mean() == pytest.approx(500, rel=0.1)
    assert history.remaining([request("short")], np.array([0]))[0].max() < 40
    at_start, after_50 = history.remaining([request("mixed")] * 2, np.array([0, 50]))
    assert at_start[0] < 20  # one of the short ones
    assert at_start[2] > 800  # or of the long ones
    assert after_50[0] > 800  # the short ones are out of the question by then


def test_no_more_is_expected_than_max_tokens_allows() -> None:
    history = taught([1000] * 5)
    left = history.remaining([request(max_tokens=60)] * 2, np.array([50, 60]))
    np.testing.assert_array_equal(left, [[10, 10, 10], [1, 1, 1]])


def test_what_was_long_ago_counts_less() -> None:
    history = History(half_life=10)
    for length in (*[1000] * 100, *[10] * 100):
        history.observe(request(), length)
    assert history.remaining([request()], np.array([0]))[0].max() < 20


@pytest.mark.parametrize("name", ["prior_tokens", "prior_weight", "half_life"])
def test_parameters_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be greater than 0, got 0"):
        History(**{name: 0.0})  # type: ignore[arg-type]
