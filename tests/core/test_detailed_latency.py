"""Laws of the detailed latency model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import LinearLatency
from slosched.core.detailed_latency import DetailedLatency

seconds = st.floats(0, 0.1)
lines = st.builds(LinearLatency, st.floats(1e-3, 0.1), seconds, seconds, st.floats(0, 1e-5))
levels = st.lists(st.tuples(st.integers(1, 20), seconds), min_size=1, max_size=5)


def climb(steps: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    numbers, added = np.cumsum(np.array(steps), axis=0).T
    return tuple(zip(numbers.astype(int).tolist(), added.tolist(), strict=True))


@given(lines, st.integers(0, 999), st.integers(0, 99), st.integers(0, 99_999))
def test_a_line_is_a_model_without_details(
    line: LinearLatency, prefill: int, sequences: int, context: int
) -> None:
    detailed = DetailedLatency.of(line)
    assert DetailedLatency.of(detailed) is detailed
    work = prefill, sequences, context
    assert detailed.step(*work) == pytest.approx(line.step(*work), rel=1e-12)
    assert detailed.prompt_alone(500.0, 200) == line.prompt_alone(500.0, 200)
    assert detailed.answer_alone(50.0, 7.0) == line.answer_alone(50.0, 7.0)


@given(levels.map(climb), st.integers(1, 200))
def test_numbers_of_sequences_are_joined_by_lines(
    pairs: tuple[tuple[int, float], ...], most: int
) -> None:
    added = DetailedLatency(1.0, 0.0, 0.0, 0.0, pairs).by_sequences(most)
    assert added.shape == (most + 1,)
    assert added[0] == 0
    assert (np.diff(added) >= -1e-12).all()
    for number, expected in pairs:
        if number <= most:
            assert added[number] == pytest.approx(expected, abs=1e-12)
    corners = {number for number, _ in pairs[:-1]}
    for between in set(range(1, most)) - corners:
        bend = added[between + 1] - 2 * added[between] + added[between - 1]
        assert bend == pytest.approx(0, abs=1e-9)


def test_only_steps_with_prompts_pay_for_prompts() -> None:
    model = DetailedLatency(1.0, 0.5, 0.01, 3.0, ((2, 0.0), (4, 1.0)))
    assert model.step(0, 3, 10) == 1.6
    assert model.step(2, 3, 10) == 5.6
    assert model.prompt_alone(5.0, 2) == 3 * 4.0 + 2.5
    assert model.answer_alone(3.0, 10.0) == pytest.approx(3 + 0.33)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"base": 0.0}, "base must be greater than 0"),
        ({"prompt_step": -1.0}, "prompt_step must not be negative"),
        ({"per_context_token": float("nan")}, "per_context_token must not be negative"),
        ({"sequences": ()}, "must have a pair"),
        ({"sequences": ((0, 1.0),)}, "must increase"),
        ({"sequences": ((4, 1.0), (2, 2.0))}, "must increase"),
        ({"sequences": ((2, 2.0), (4, 1.0))}, "must not fall, got 4 sequences at 1.0 after 2"),
    ],
)
def test_what_no_engine_does_is_refused(change: dict[str, object], complaint: str) -> None:
    usual = {
        "base": 1.0, "per_prefill_token": 0.5, "per_context_token": 0.1, "prompt_step": 1.0,
        "sequences": ((1, 1.0),),
    }  # fmt: skip
    with pytest.raises(ValueError, match=complaint):
        DetailedLatency(**(usual | change))  # type: ignore[arg-type]
