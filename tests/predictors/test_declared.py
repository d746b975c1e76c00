import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import Request, Slo
from slosched.predictors.declared import Declared


def request(max_tokens: int | None) -> Request:
    return Request("r", 0.0, 10, Slo(e2e=1.0), max_tokens=max_tokens)


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 4000)), st.integers(0, 5000))),
    st.integers(1, 500),
)
def test_what_is_declared_and_not_yet_out_is_still_to_come(
    rows: list[tuple[int | None, int]], default: int
) -> None:
    left = Declared(default_tokens=default).remaining(
        [request(declared) for declared, _ in rows], np.array([out for _, out in rows], dtype=int)
    )
    assert left.shape == (len(rows),)
    for (declared, out), expected in zip(rows, left, strict=True):
        total = default if declared is None else declared
        assert expected == max(total - out, 1)


def test_an_answer_has_at_least_one_token() -> None:
    with pytest.raises(ValueError, match="default_tokens must be at least 1, got 0"):
        Declared(default_tokens=0)
