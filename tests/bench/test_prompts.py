"""Made-up prompts: exactly as long as asked, the same again, and shared where the trace shares."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slosched import Request, Slo, TracedRequest
from slosched.bench.prompts import BLOCK_TOKENS, Prompts

IDS = np.arange(1000, 9000)
PROMPTS = Prompts(IDS, seed=7)


def traced(
    tokens: int, request_id: str = "a", hash_ids: tuple[int, ...] = (), source: str = "t"
) -> TracedRequest:
    return TracedRequest(Request(request_id, 0.0, tokens, Slo()), 5, source, hash_ids)


lengths = st.integers(1, 4 * BLOCK_TOKENS)
ids = st.lists(st.integers(-5, 1 << 40), max_size=6).map(tuple)


@given(lengths, ids, st.integers(0, 1 << 70))
def test_a_prompt_has_exactly_its_length_and_ordinary_tokens(
    length: int, hash_ids: tuple[int, ...], seed: int
) -> None:
    tokens = Prompts(IDS, seed).tokens(traced(length, hash_ids=hash_ids))
    assert len(tokens) == length
    assert np.isin(tokens, IDS).all()


@given(lengths, ids)
def test_the_same_request_gets_the_same_prompt(length: int, hash_ids: tuple[int, ...]) -> None:
    """Law 4: whatever else was made before."""
    request = traced(length, hash_ids=hash_ids)
    PROMPTS.tokens(traced(99, "other"))
    np.testing.assert_array_equal(PROMPTS.tokens(request), Prompts(IDS, 7).tokens(request))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 2 * BLOCK_TOKENS))
def test_shared_hash_ids_are_shared_prefixes(shared: list[int], more: int) -> None:
    """And nothing beyond them is shared."""
    n = len(shared) * BLOCK_TOKENS
    one = PROMPTS.tokens(traced(n + more, "one", (*shared, 1001)))
    two = PROMPTS.tokens(traced(n + more, "two", (*shared, 2002)))
    np.testing.assert_array_equal(one[:n], two[:n])
    for i, hash_id in enumerate(shared):
        block = slice(i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS)
        alone = PROMPTS.tokens(traced(BLOCK_TOKENS, "x", (hash_id,)))
        np.testing.assert_array_equal(one[block], alone)
    if more > 20:
        assert not np.array_equal(one[n:], two[n:])


def test_a_hash_id_means_something_else_in_another_trace() -> None:
    here, there = (PROMPTS.tokens(traced(512, hash_ids=(3,), source=s)) for s in ("a", "b"))
    assert not np.array_equal(here, there)


def test_other_requests_and_other_seeds_give_other_prompts() -> None:
    first = PROMPTS.tokens(traced(64, "a"))
    assert not np.array_equal(first, PROMPTS.tokens(traced(64, "b")))
    assert not np.array_equal(first, Prompts(IDS, 8).tokens(traced(64, "a")))


def test_a_text_has_as_many_words_as_the_request_tokens() -> None:
    assert len(PROMPTS.text(traced(37)).split()) == 37
    assert PROMPTS.text(traced(37)) == PROMPTS.text(traced(37))
