"""Lengths as the client declares them: it takes all of `max_tokens`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Declared:
    """Trust `max_tokens` to be the answer's length, and not only a bound on it.

    True of requests with `ignore_eos`, and near the truth where clients ask for as much as they
    want. What declares nothing is expected to have `default_tokens`.

    Parameters
    ----------
    default_tokens
        Output tokens of a request without `max_tokens`.
    """

    kind: Literal["declared"] = "declared"
    default_tokens: int = 200

    def __post_init__(self) -> None:
        if self.default_tokens < 1:
            raise ValueError(f"default_tokens must be at least 1, got {self.default_tokens}")

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Return what is declared and not yet out, at least 1."""
        declared = [r.max_tokens or self.default_tokens for r in requests]
        return np.maximum(np.array(declared, dtype=float) - produced, 1.0)
