"""How texts are cut to what an encoder can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import ModelError
from slosched.predictors.tokens import Tokens
from tests.predictors.parts import WORDS, tokenizer

LETTERS = st.lists(st.sampled_from("abcdefgh"), max_size=60)


@given(LETTERS, st.integers(16, 40))
def test_of_a_long_text_both_ends_are_read(letters: list[str], most: int) -> None:
    [ids] = Tokens(tokenizer(), most).ids([" ".join(letters)])
    read = [WORDS[i] for i in ids[1:-1]]
    assert (ids[0], ids[-1], len(ids) <= most) == (2, 3, True)
    if len(letters) <= most - 2:
        assert read == letters
    else:
        first = (most - 2) // 2
        assert read == letters[:first] + letters[first - (most - 2) :]


@given(LETTERS, st.integers(1, 40))
def test_or_its_end_alone(letters: list[str], last: int) -> None:
    [ids] = Tokens(tokenizer(), 30).ids([" ".join(letters)], last)
    assert [WORDS[i] for i in ids[1:-1]] == letters[-min(last, 28) :]


def test_a_text_of_a_million_words_is_not_even_looked_at_in_the_middle() -> None:
    text = "a b " * 10 + "x" * 10_000_000 + " y z" * 10
    [ids] = Tokens(tokenizer(), 16).ids([text])
    assert [WORDS[i] for i in ids[1:-1]] == [*"abababa", *"zyzyzyz"[:0], *"zyzyzyz"]


def test_padding_is_masked() -> None:
    tokens = Tokens(tokenizer(), 16)
    table, mask = tokens.padded(tokens.ids(["a b c", "a"]))
    assert table.tolist() == [[2, 4, 5, 6, 3], [2, 4, 3, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert tokens.count(["a b c", ""]) == [3, 0]


def test_too_few_tokens_to_read_anything() -> None:
    with pytest.raises(ModelError, match="max_tokens must be at least 16, got 8"):
        Tokens(tokenizer(), 8)
