"""Answers cut short: what was said by then, and what was still to come (ELIS, arXiv 2505.09142)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from slosched.core.transcript import RecordedTranscript, Said
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.predictors.folder import Reads
from slosched.training.examples import Example


@dataclass(frozen=True)
class Cuts:
    """Some answers, each cut at one place or several.

    Parameters
    ----------
    said
        What was said by then.
    input_tokens, produced, left
        Shape (n,): tokens of the prompt, of the answer by then, and of the rest of it.
    of
        Shape (n,): which example each is of.
    most
        Shape (n,): tokens that the client's bound left room for; infinite without one.
    """

    said: Sequence[Said]
    input_tokens: IntArray
    produced: IntArray
    left: IntArray
    of: IntArray
    most: FloatArray

    def __len__(self) -> int:
        return len(self.said)

    @property
    def cut_off(self) -> BoolArray:
        """Whose answer did not end by itself, shape (n,): it would have been longer."""
        reached: BoolArray = self.left >= self.most
        return reached


def cut_at(examples: Sequence[Example], places: Iterable[tuple[int, int]]) -> Cuts:
    """Cut answers: pairs of an example's number and the tokens that are out."""
    said, rows = [], []
    for i, out in places:
        example = examples[i]
        texts = RecordedTranscript(example.prompt, example.answer, example.output_tokens)
        said.append(texts.read(out))
        rows.append((example.input_tokens, out, example.output_tokens - out, i))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    bounds = [examples[i].max_tokens for i in columns[:, 3].tolist()]
    most = np.array([inf if bound is None else bound for bound in bounds])
    tokens, produced, left, of = (columns[:, k] for k in range(4))
    return Cuts(said, tokens, produced, left, of, most - produced)


def every_so_often(
    examples: Sequence[Example], reads: Reads, every: int, seed: int, *, thin: bool
) -> Cuts:
    """Cut each answer before its first token, and at multiples of `every`.

    Parameters
    ----------
    reads
        A model that reads prompts alone needs no cuts but the first.
    thin
        Whether of each doubling of the tokens that are out, from `every` on, one multiple is drawn
        at random: long answers do not outweigh all others, and at any place long and short ones
        are cut as often as they come by there.
    """
    rng = np.random.default_rng(seed)
    places = []
    for i, example in enumerate(examples):
        places.append((i, 0))
        if reads == "prompt" or not example.answer:
            continue
        last = (example.output_tokens - 1) // every
        multiples = _thinned(last, rng) if thin else range(1, last + 1)
        places += [(i, every * k) for k in multiples]
    return cut_at(examples, places)


def _thinned(last: int, rng: np.random.Generator) -> list[int]:
    """Draw one number of [1, 2), [2, 4), [4, 8) and so on; those up to `last`."""
    drawn = [int(rng.integers(1 << j, 2 << j)) for j in range(last.bit_length())]
    return [k for k in drawn if k <= last]
