"""Texts as an encoder takes them: token ids, of long texts the two ends."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from slosched.core.errors import ModelError
from slosched.core.types import IntArray

_CHARACTERS = 16  # of a token, at most: what a text may have more is not even looked at
_LEAST = 16
_AT_ONCE = 256  # texts whose tokens are in memory
_Sliced = TypeVar("_Sliced", str, list[int])


class Tokens:
    """Turns texts into ids, with the encoder's own marks around them.

    Of a text that is too long, the first half of the room goes to its beginning and the other to
    its end: prompts say what is wanted at either.

    Parameters
    ----------
    tokenizer
        A `tokenizers.Tokenizer`.
    max_tokens
        Of a text, with its marks.

    Raises
    ------
    ModelError
        If `max_tokens` is below 16, or the tokenizer puts no marks around a text as a whole.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:  # noqa: ANN401 - untyped library
        if max_tokens < _LEAST:
            raise ModelError(f"max_tokens must be at least {_LEAST}, got {max_tokens}")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        marked = tokenizer.encode("a").ids
        bare = tokenizer.encode("a", add_special_tokens=False).ids
        begins = [i for i in range(len(marked)) if marked[i : i + len(bare)] == bare]
        if not bare or not begins:
            raise ModelError("the tokenizer does not put its marks around a text as a whole")
        self._before, self._after = marked[: begins[0]], marked[begins[0] + len(bare) :]
        self._pad = int(tokenizer.token_to_id("[PAD]") or 0)  # masked: any id would do

    def ids(self, texts: Sequence[str], last: int | None = None) -> list[list[int]]:
        """Return the ids of each text, at most `max_tokens`.

        Parameters
        ----------
        last
            Read no more than so many tokens, those at the end; None for both ends.
        """
        room = self.max_tokens - len(self._before) - len(self._after)
        cut: Callable[..., Any] = _ends
        if last is not None:
            room, cut = min(last, room), _end
        short = [cut(text, room * _CHARACTERS) for text in texts]
        encoded = self._tokenizer.encode_batch(short, add_special_tokens=False)
        return [[*self._before, *cut(found.ids, room), *self._after] for found in encoded]

    def padded(self, ids: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
        """Return ids and mask, shape (n, longest): 1 where there is a token."""
        longest = max(map(len, ids))
        table = np.full((len(ids), longest), self._pad, dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for row, one in enumerate(ids):
            table[row, : len(one)] = one
            mask[row, : len(one)] = 1
        return table, mask

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has in all, without marks."""
        counts: list[int] = []
        for begin in range(0, len(texts), _AT_ONCE):
            part = list(texts[begin : begin + _AT_ONCE])
            found = self._tokenizer.encode_batch(part, add_special_tokens=False)
            counts += [len(one.ids) for one in found]
        return counts


def _ends(whole: _Sliced, room: int) -> _Sliced:
    if len(whole) <= room:
        return whole
    first = room // 2
    return whole[:first] + whole[first - room :]


def _end(whole: _Sliced, room: int) -> _Sliced:
    return whole[-room:]
