"""What a search is judged by: later requests, and differences that are more than chance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.config.load import build
from slosched.core.errors import TraceError
from slosched.whatif.bootstrap import paired_interval
from slosched.whatif.held_out import GAP, divide, together
from slosched.whatif.requests import requests
from tests.whatif.parts import document, records

TRACE = requests([records(400)], build(document()), 1.0, 0)


@given(st.integers(60, 400), st.floats(0.35, 0.6))
def test_the_parts_are_apart_and_in_order(n: int, share: float) -> None:
    """Law: nobody is in both, the gap is in neither, and what judges comes after what is seen."""
    train, held_out = divide(TRACE[:n], share)
    assert train == TRACE[: len(train)]
    assert held_out == TRACE[n - len(held_out) : n]
    missing = n - len(train) - len(held_out)
    assert abs(missing - GAP * n) <= 1
    assert train[-1].request.arrival <= held_out[0].request.arrival
    assert abs(len(train) - share * n) <= 0.5


def test_traces_that_go_on_alone_are_cut() -> None:
    """What comes after the first one ends is another mix; what has no times has no end."""
    slow, fast = records(50, gap=1.0), records(80, gap=0.1)
    untimed = [replace(record, time=0.0) for record in fast]
    cut, whole, other = together([slow, fast, untimed])
    assert (whole, other) == (fast, untimed)
    assert cut == [record for record in slow if record.time <= fast[-1].time]
    assert 0 < len(cut) < 50
    assert together([untimed, untimed]) == [untimed, untimed]
    assert together([slow]) == [slow]


@pytest.mark.parametrize(
    ("n", "share", "complaint"),
    [
        (30, 0.6, "the training part has 18 of 30 requests, and needs at least 20"),
        (50, 0.6, "the held-out part has 18 of 50 requests"),
        (0, 0.6, "the training part has 0 of 0"),
    ],
)
def test_a_part_that_says_nothing_is_refused(n: int, share: float, complaint: str) -> None:
    with pytest.raises(TraceError, match=complaint):
        divide(TRACE[:n], share)


OUTCOMES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.floats(0, 1), min_size=n, max_size=n).map(np.array) for _ in range(2)),
        st.lists(st.floats(0.1, 9), min_size=n, max_size=n).map(np.array),
    )
)


@given(OUTCOMES, st.integers(0, 9))
def test_a_comparison_turned_around_says_the_opposite(
    outcomes: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    """Law: pairs are drawn together; so who is compared with itself differs by nothing."""
    before, after, weight = outcomes
    there, back = (
        paired_interval(*pair, weight, seed) for pair in ((before, after), (after, before))
    )
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.low <= there.high
    assert paired_interval(before, before, weight, seed) == (0, 0, 0)
    shifted = paired_interval(before, before + 0.25, weight * 3, seed)
    assert tuple(shifted) == pytest.approx((0.25, 0.25, 0.25))


def test_neighbours_that_share_their_fate_say_less() -> None:
    """The same gains, in one burst or scattered: blocks tell them apart."""
    n = 400
    before, weight = np.zeros(n), np.ones(n)
    burst, scattered = np.zeros(n), np.zeros(n)
    burst[:80], scattered[::5] = 1, 1
    one, other = (paired_interval(before, after, weight, 0) for after in (burst, scattered))
    assert one.difference == other.difference == pytest.approx(0.2)
    assert one.high - one.low > 3 * (other.high - other.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        before, after = (rng.random(200) < share for share in (0.5, 0.6))
        found = paired_interval(before.astype(float), after.astype(float), np.ones(200), seed)
        covered += found.low <= 0.1 <= found.high
    assert 175 <= covered <= 199
