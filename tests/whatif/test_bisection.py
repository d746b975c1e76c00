"""Bisection, and the neighbourhood of what it finds."""

from collections import Counter
from collections.abc import Callable
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import ConfigError
from slosched.whatif.bisection import smallest
from slosched.whatif.capacity import Loads, Replicas, Search
from slosched.whatif.fleet import Probe
from slosched.whatif.question import loads_scale, replicas_scale


def made(meets: Callable[[int, float], bool]) -> Callable[[int, float], Probe]:
    def probe(replicas: int, load: float) -> Probe:
        met = meets(replicas, load)
        return Probe(replicas, load, {"all": float(met)}, () if met else ("all",), {})

    return probe


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_the_smallest_number_is_found_with_few_questions(
    threshold: int, most: int, start: int
) -> None:
    """Law: for any predicate that turns true once, and O(log n) different questions."""
    start = min(start, most)
    asked: Counter[int] = Counter()

    def holds(n: int) -> bool:
        asked[n] += 1
        assert 1 <= n <= most
        return n >= threshold

    found = smallest(holds, most, start)
    assert found == (threshold if threshold <= most else None)
    assert len(asked) <= 2 * log2(most) + 3
    if start == 1 and found:
        assert len(asked) <= 2 * log2(found) + 3, "a small answer is found soon"


@given(st.sets(st.integers(1, 40)), st.booleans())
def test_an_answer_meets_and_its_neighbour_does_not_whatever_the_world_is_like(
    meeting: set[int], of_replicas: bool
) -> None:
    """Law: also where more replicas, or less load, may do worse; then it is said."""
    scale = Replicas(1.0, 40) if of_replicas else Loads(1, 0.25, 40)
    search = Search(
        scale, made(lambda n, load: (n if of_replicas else round(load / 0.25)) in meeting)
    )
    search.run()
    easier = 1 if of_replicas else -1
    if search.answer is None:
        assert (40 if of_replicas else 1) not in meeting
        assert not search.at_bound
    else:
        assert search.answer in meeting
        harder = search.answer - easier
        assert harder not in meeting or not 1 <= harder <= 40
        near = {search.answer + k * easier for k in (-2, -1, 0, 1)} & set(range(1, 41))
        assert near <= set(search.probes)
    contradictions = {
        (low, high) if of_replicas else (high, low)
        for low in search.probes
        for high in search.probes
        if low < high and ((low in meeting) == of_replicas) and ((high in meeting) != of_replicas)
    }
    at = {id(probe): number for number, probe in search.probes.items()}
    assert {(at[id(one)], at[id(other)]) for one, other in search.uneven} == contradictions
    for one, other in search.uneven:
        assert one.meets
        assert not other.meets


def test_loads_are_multiples_of_the_step_and_begin_about_1() -> None:
    asked: list[float] = []

    def meets(replicas: int, load: float) -> bool:
        assert replicas == 3
        asked.append(load)
        return load <= 1.43

    search = Search(loads_scale(3, 0.1, 8), made(meets))
    search.run()
    assert asked[0] == 1.0
    assert search.probes[search.answer or 0].load == 1.4
    assert not search.uneven


def test_a_load_that_is_never_too_much_is_at_the_bound() -> None:
    search = Search(loads_scale(None, 0.5, 4.2), made(lambda _, __: True))
    search.run()
    assert (search.answer, search.at_bound) == (8, True)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: replicas_scale(0.0, 9), "--load must be greater than 0 and finite, got 0"),
        (lambda: loads_scale(1, float("nan"), 9), "--step must be .* and finite, got nan"),
        (lambda: loads_scale(1, 0.1, float("inf")), "--max-load must be greater than 0 and finite"),
        (lambda: loads_scale(1, 2, 1), r"--max-load must be at least --step \(2\), got 1"),
    ],
)  # fmt: skip
def test_a_scale_that_makes_no_sense_is_refused(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make()
