"""Embeddings on disk: a frozen encoder reads each text once, however often a head is trained."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from slosched.predictors.encoder import Embeddings, Encoder

Told = Callable[[int], None]  # by how many texts it is further

_AT_ONCE = 512  # texts in a file


class EmbeddingCache:
    """Keeps what an encoder said, in files that are whole or not there.

    Parameters
    ----------
    folder
        Where; it is made.
    encoder
        Reads what is not there yet.
    name
        Tells apart encoders, and how they are set up.
    """

    def __init__(self, folder: Path, encoder: Encoder, name: str) -> None:
        self._folder, self._encoder, self._name = folder, encoder, name
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._encoder.dimension

    def encode(
        self, texts: Sequence[str], last: int | None = None, told: Told | None = None
    ) -> Embeddings:
        """Return an embedding of each text; of the same text, the same. Each text is read once."""
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        wanted = list(unique)
        parts = []
        for begin in range(0, len(wanted), _AT_ONCE):
            part = wanted[begin : begin + _AT_ONCE]
            parts.append(self._part(part, last))
            if told is not None:
                told(len(part))
        made = np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)
        return made[[unique[text] for text in texts]]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has in all."""
        return self._encoder.count(texts)

    def _part(self, texts: Sequence[str], last: int | None) -> Embeddings:
        digest = blake2b(f"{self._name}:{last}".encode(), digest_size=16)
        for text in texts:
            digest.update(text.encode())
            digest.update(b"\0")
        path = self._folder / f"{digest.hexdigest()}.npy"
        if path.is_file():
            kept: Embeddings = np.load(path, allow_pickle=False)
            return kept
        made = self._encoder.encode(texts, last)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.save(file, made, allow_pickle=False)
        temporary.replace(path)
        return made
