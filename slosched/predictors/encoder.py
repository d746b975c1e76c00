"""Encoders: a text becomes a point in space, near to others that mean the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.core.types import IntArray
from slosched.predictors.tokens import Tokens

Embeddings = NDArray[np.float32]
Pooling = Literal["mean", "cls", "all"]
Runtime = Literal["auto", "onnx", "torch"]


class Encoder(Protocol):
    """Turns texts into embeddings."""

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    def encode(self, texts: Sequence[str], last: int | None = None) -> Embeddings:
        """Return an embedding of each text, shape (n, dimension).

        Parameters
        ----------
        last
            Read no more than so many tokens, those at the end; None for both ends.
        """
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has in all."""
        ...


class Network(Protocol):
    """The layers of an encoder, wherever they are computed."""

    @property
    def batch_tokens(self) -> int:
        """How many tokens are best computed at once, with padding."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the last layer's states."""
        ...

    def states(self, ids: IntArray, mask: IntArray) -> Embeddings:
        """Compute the last layer's states, shape (n, tokens, dimension)."""
        ...


class TextEncoder:
    """Tokenizer, network and pooling: what Sentence-BERT (arXiv 1908.10084) calls a bi-encoder.

    Parameters
    ----------
    pooling
        "mean" of the states of all tokens, or the first one's, "cls"; or "all": these two and the
        greatest of each number, one after the other.
    """

    def __init__(self, tokens: Tokens, network: Network, pooling: Pooling = "mean") -> None:
        self._tokens, self._network, self._pooling = tokens, network, pooling

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._network.dimension * (3 if self._pooling == "all" else 1)

    def encode(self, texts: Sequence[str], last: int | None = None) -> Embeddings:
        """Return an embedding of each text; texts of like length are computed together."""
        ids = self._tokens.ids(texts, last)
        made = np.empty((len(texts), self.dimension), dtype=np.float32)
        for batch in batches([len(one) for one in ids], self._network.batch_tokens):
            made[batch] = self._pooled(*self._tokens.padded([ids[i] for i in batch]))
        return made

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has in all."""
        return self._tokens.count(texts)

    def _pooled(self, ids: IntArray, mask: IntArray) -> Embeddings:
        states = self._network.states(ids, mask)
        first = states[:, 0]
        if self._pooling == "cls":
            return first
        there = mask[:, :, None].astype(np.float32)
        mean: Embeddings = (states * there).sum(axis=1) / there.sum(axis=1)
        if self._pooling == "mean":
            return mean
        greatest = np.where(there > 0, states, -np.inf).max(axis=1)
        return np.hstack((mean, first, greatest))


def batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Part texts by their lengths, so that each part has at most so many tokens once padded."""
    parts: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        longest = max(longest, lengths[i])
        if not parts or longest * (len(parts[-1]) + 1) > most:
            parts.append([])
            longest = lengths[i]
        parts[-1].append(i)
    return parts


def open_encoder(
    model: str,
    *,
    runtime: Runtime = "auto",
    max_tokens: int = 512,
    pooling: Pooling = "mean",
    threads: int = 1,
    device: str = "cpu",
    adapter: Path | None = None,
    layers: int = 0,
) -> TextEncoder:
    """Load an encoder.

    Parameters
    ----------
    model
        A local folder, or a name on the Hugging Face hub (torch only).
    runtime
        "onnx" needs a folder with an ONNX file; "auto" takes that where there is one.
    max_tokens
        Of a text; no more than the model was made for.
    threads
        Cores to compute on; ONNX only.
    device
        Of torch.
    adapter
        Folder of an adapter (LoRA) that was trained for it.
    layers
        Compute no more than so many of its layers, the first; 0 for all.

    Raises
    ------
    ModelError
        If there is no such model, or a library for it is missing.
    """
    folder = Path(model).expanduser()
    has_onnx = folder.is_dir() and any(folder.rglob("*.onnx"))
    if runtime == "onnx" and not has_onnx:
        raise ModelError(f"{model}: runtime onnx needs a local folder with an ONNX file in it")
    network: Network
    if runtime == "onnx" or (runtime == "auto" and has_onnx):
        from slosched.predictors.onnx_network import open_onnx

        tokens, network = open_onnx(folder, max_tokens, threads, adapter, layers)
    else:
        from slosched.predictors.torch_network import open_torch

        tokens, network = open_torch(model, max_tokens, device, adapter, layers)
    return TextEncoder(tokens, network, pooling)
