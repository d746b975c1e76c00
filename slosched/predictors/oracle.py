"""The oracle: true lengths, for simulations only (law 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows how long every answer will be, from the trace.

    Parameters
    ----------
    lengths
        Output tokens by request id.
    """

    kind: Literal["oracle"] = "oracle"
    lengths: Mapping[str, int] = field(default_factory=dict)

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Return the truth; KeyError for a request that the oracle was not told of."""
        lengths = np.array([self.lengths[request.request_id] for request in requests], dtype=float)
        return np.maximum(lengths - produced, 1.0)
