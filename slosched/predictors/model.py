"""A length model: reads texts, and says how many tokens are to come."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.core.transcript import Said
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.calibration import Calibration, calibration_from
from slosched.predictors.encoder import Embeddings, Encoder, Runtime, open_encoder
from slosched.predictors.folder import ADAPTER, TUNED, Description, Reads, describe, load_tensors
from slosched.predictors.head import Head, head_from
from slosched.predictors.sketch import BINS

PROBE = "How do I sort a list of numbers in Python?"
_ALIKE = 0.9  # cosine; the same encoder in int8 has 0.98, another one next to 0
NUMBERS = 3  # features beside embeddings
ANSWER_TOKENS = 126  # of an answer so far, from its end, where it is read by itself


@dataclass(frozen=True)
class LengthModel:
    """An encoder, the head that was trained on its embeddings, and the head's calibration.

    Parameters
    ----------
    usual
        Shape (BINS,): how likely each length is among the answers that it was trained on.
    """

    description: Description
    encoder: Encoder
    head: Head
    calibration: Calibration
    usual: FloatArray

    def quantiles(
        self, said: Sequence[Said], input_tokens: Sequence[int], prompts: Embeddings | None = None
    ) -> FloatArray:
        """Tokens to come at each of `calibration.LEVELS`, shape (n, levels), ascending.

        Parameters
        ----------
        said, input_tokens
            The texts, and how many tokens the engine counts in each prompt.
        prompts
            Embeddings of the prompts, where they are known; see `read_prompts`.
        """
        produced = np.array([one.produced for one in said], dtype=np.int64)
        if self.description.reads == "prompt":
            produced[:] = 0
        outputs = self.head.outputs(
            features(self.description.reads, self.encoder, said, input_tokens, prompts)
        )
        return self.calibration.quantiles(self.head.kind, outputs, produced)

    def read_prompts(self, said: Sequence[Said]) -> Embeddings:
        """Embed what stays the same as answers grow."""
        return self.encoder.encode([one.prompt for one in said])


def features(
    reads: Reads,
    encoder: Encoder,
    said: Sequence[Said],
    input_tokens: Sequence[int],
    prompts: Embeddings | None = None,
) -> NDArray[np.float32]:
    """Return what a head is shown of each request, shape (n, `width(reads, dimension)`).

    The embeddings, then logarithms of the tokens of the prompt and of the answer so far, and
    whether there is any.
    """
    parts: list[NDArray[np.float32]]
    if reads == "joint":
        parts = [encoder.encode([joint(one) for one in said])]
    else:
        parts = [encoder.encode([one.prompt for one in said]) if prompts is None else prompts]
    if reads == "apart":
        parts.append(_answers(encoder, said))
    produced = np.array([0 if reads == "prompt" else one.produced for one in said])
    parts.append(numbers(np.asarray(input_tokens), produced))
    return np.hstack(parts)


def numbers(input_tokens: IntArray, produced: IntArray) -> NDArray[np.float32]:
    """Return the features that are no embeddings, shape (n, NUMBERS)."""
    columns = (np.log1p(input_tokens), np.log1p(produced), produced > 0)
    return np.stack(columns, axis=1).astype(np.float32)


def joint(said: Said) -> str:
    """Prompt and answer as one text, of which an encoder reads both ends."""
    return f"{said.prompt}\n\n{said.answer}" if said.answer else said.prompt


def width(reads: Reads, dimension: int) -> int:
    """How many features there are."""
    return dimension * (2 if reads == "apart" else 1) + NUMBERS


def _answers(encoder: Encoder, said: Sequence[Said]) -> Embeddings:
    """Embed the ends of the answers, those that have not begun as nothing."""
    begun = [i for i, one in enumerate(said) if one.answer]
    made = np.zeros((len(said), encoder.dimension), dtype=np.float32)
    if begun:
        made[begun] = encoder.encode([said[i].answer for i in begun], ANSWER_TOKENS)
    return made


def open_model(
    folder: Path, encoder: str | None = None, runtime: Runtime = "auto", threads: int = 1
) -> LengthModel:
    """Load a trained model and its encoder.

    Parameters
    ----------
    encoder
        Where the encoder is, if not where the model's description says.

    Raises
    ------
    ModelError
        If a file is missing or not whole, or the encoder is another one.
    """
    description = describe(folder)
    tensors = load_tensors(folder)
    try:
        head, calibration = head_from(description.head, tensors), calibration_from(tensors)
        usual, probe = tensors["usual"].astype(np.float64), tensors["probe"]
    except KeyError as error:
        raise ModelError(f"{folder}: the tensor {error.args[0]} is missing") from None
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    wanted = width(description.reads, description.dimension)
    if head.features != wanted or usual.shape != (BINS,):
        raise ModelError(f"{folder}: a head of {head.features} features, must have {wanted}")
    own, adapter = folder / TUNED, folder / ADAPTER
    reader = open_encoder(
        encoder or (str(own) if description.encoder == TUNED else description.encoder),
        runtime=runtime,
        max_tokens=description.max_tokens,
        pooling=description.pooling,
        threads=threads,
        adapter=adapter if adapter.is_dir() else None,
        layers=description.layers,
    )
    _check_encoder(folder, description, reader, probe)
    return LengthModel(description, reader, head, calibration, usual)


def _check_encoder(
    folder: Path, description: Description, encoder: Encoder, probe: Embeddings
) -> None:
    if encoder.dimension != description.dimension:
        raise ModelError(
            f"{folder}: is for {description.encoder} with {description.dimension} dimensions, "
            f"this encoder has {encoder.dimension}"
        )
    [found] = encoder.encode([PROBE])
    alike = float(found @ probe / (np.linalg.norm(found) * np.linalg.norm(probe)))
    if not alike > _ALIKE:
        raise ModelError(
            f"{folder}: is for {description.encoder}, this encoder has other embeddings "
            f"(cosine {alike:.2f})"
        )
