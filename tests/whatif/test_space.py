"""What a search may vary: read, checked, and kept in its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.config.load import build
from slosched.config.parts import POLICIES
from slosched.config.schema import dump
from slosched.core.errors import ConfigError
from slosched.whatif.default_space import default_space, space_of
from slosched.whatif.space import Choice, Range, current, from_option
from tests.whatif.parts import CLASSES, document

BOUNDS = st.one_of(
    st.tuples(st.integers(1, 50), st.integers(51, 5000)),
    st.tuples(st.floats(1e-9, 0.9), st.floats(1.0, 1e6)),
)


@given(BOUNDS, st.booleans(), st.floats(0, 1))
def test_what_is_tried_is_in_the_range_and_reads_well(
    bounds: tuple[float, float], log: bool, where: float
) -> None:
    """Law: rounding to three digits never leaves the range, and changes nothing twice."""
    one = Range("policy.x", *bounds, log)
    value = one.low + where * (one.high - one.low)
    tried = one.applied(round(value) if one.whole else value)
    assert one.has(tried)
    assert one.applied(tried) == tried
    assert from_option(str(one)) == one


@given(st.lists(st.one_of(st.booleans(), st.integers(), st.text("ab-", min_size=1)), min_size=2))
def test_choices_are_read_as_they_are_written(values: list[bool | int | str]) -> None:
    unique = tuple({repr(v): v for v in values}.values())
    one = Choice("policy.x", unique)
    if len(unique) > 1:
        assert from_option(str(one)) == one
    assert all(one.has(value) for value in unique)
    assert not one.has(None)


def test_ranges_and_choices() -> None:
    assert from_option("policy.solver.cooling=0.7..0.99") == Range(
        "policy.solver.cooling", 0.7, 0.99
    )
    assert from_option("policy.a=1e-6..0.5:log") == Range("policy.a", 1e-6, 0.5, log=True)
    assert from_option("policy.a=1..9") == Range("policy.a", 1, 9)
    assert from_option("policy.a=1..9").ends == (1, 9)
    assert from_option("policy.a=true,false") == Choice("policy.a", (True, False))
    assert not from_option("policy.a=true,false").has(1)
    assert not from_option("policy.a=0..9").has(True)


@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_what_is_searched_by_default_fits_every_policy(kind: str) -> None:
    """Both ends of each range, and the configuration as it is."""
    chosen = document(CLASSES + f"policy: {{kind: {kind}}}\n")
    settings = build(chosen)
    if kind not in {"planned", "aged_sjf", "isrtf", "ltr", "slo_sa"}:
        with pytest.raises(ConfigError, match=f"policy {kind} has nothing that is tuned"):
            default_space(settings)
        return
    for parameter in space_of([], chosen):
        assert parameter.has(current(dump(settings), parameter.path)), parameter


def test_what_is_not_in_use_is_not_searched() -> None:
    moves = document(CLASSES + "policy: {kind: planned, solver: {kind: anneal, move_budget: 9}}\n")
    fixed = document(CLASSES + "planner: {margin: {kind: fixed, factor: 1.1}}\n")
    for chosen, path in (
        (moves, "policy.solver.time_budget_ms"),
        (fixed, "planner.margin.quantile"),
    ):
        assert path in {p.path for p in space_of([], document())}
        assert path not in {p.path for p in space_of([], chosen)}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["policy.solver.cooling"], "--param policy.solver.cooling: must be PATH=LOW..HIGH"),
        (["policy.solver.cooling="], "must be PATH=LOW..HIGH"),
        (["policy.solver.cooling=0.9"], "must be LOW..HIGH, or two values or more, got 0.9"),
        (["policy.solver.cooling=0.9..0.7"], "the first number must be below the second"),
        (["policy.solver.cooling=a..b"], "must be two numbers with .. between them, got a..b"),
        (["policy.solver.cooling=0..0.9:log"], "with :log, numbers must be greater than 0, got 0"),
        (["policy.solver.cooling=0.1..0.9:lin"], "comes nothing, or :log, got :lin"),
        (["policy.solver.cooling=0.5..1.5"], "--param policy.solver.cooling: must be above 0 and"),
        (["policy.solver.coling=0.5..0.9"], "unknown field, did you mean cooling?"),
        (["policy.robust=true,maybe"], "--param policy.robust: must be a boolean"),
        (["policy.robust=[1],[2]"], "must be plain values, got a list"),
        (["classes.chat.ttft_ms=1..9"], "--param classes.chat.ttft_ms: is nothing to tune"),
        (["policy.robust=true,false"] * 2, "--param policy.robust: is there twice"),
    ],
)
def test_what_is_wrong_is_named(options: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        space_of(options, document())
    assert complaint in str(raised.value)
