"""Answers cut short: what was said by then, and what was still to come (ELIS, arXiv 2505.09142)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from slosched.core.transcript import RecordedTranscript, Said
from slosched.core.types import IntArray
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
    """

    said: Sequence[Said]
    input_tokens: IntArray
    produced: IntArray
    left: IntArray
    of: IntArray

    def __len__(self) -> int:
        return len(self.said)


def cut_at(examples: Sequence[Example], places: Iterable[tuple[int, int]]) -> Cuts:
    """Cut answers: pairs of an example's number and the tokens that are out."""
    said, rows = [], []
    for i, out in places:
        example = examples[i]
        texts = RecordedTranscript(example.prompt, example.answer, example.output_tokens)
        said.append(texts.read(out))
        rows.append((example.input_tokens, out, example.output_tokens - out, i))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Cuts(said, *(columns[:, k] for k in range(4)))


def every_so_often(
    examples: Sequence[Example], reads: Reads, every: int, most: int, seed: int
) -> Cuts:
    """Cut each answer before its first token, and at some multiples of `every`, drawn at random.

    Parameters
    ----------
    reads
        A model that reads prompts alone needs no cuts but the first.
    most
        Cuts of an answer at most, so that long ones do not outweigh all others.
    """
    rng = np.random.default_rng(seed)
    places = []
    for i, example in enumerate(examples):
        places.append((i, 0))
        if reads == "prompt" or not example.answer:
            continue
        multiples = np.arange(every, example.output_tokens, every)
        drawn = rng.permutation(multiples)[: most - 1]
        places += [(i, int(out)) for out in np.sort(drawn)]
    return cut_at(examples, places)
