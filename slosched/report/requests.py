"""What happened to each request of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Requests:
    """A run's requests, in the order of the result.

    Parameters
    ----------
    ids, classes
        Identifiers, each once, and names of classes.
    met
        Shape (n,): who kept all limits.
    ttft, tpot, e2e
        Shape (n,), s; NaN for what never came.
    ttft_limit, tpot_limit, e2e_limit
        Shape (n,), s; infinite where there is none.
    arrival
        Shape (n,), s since the first arrival; None if the result does not say.
    start
        Shape (n,), s, when service began; NaN where the result does not say.
    input_tokens, output_tokens
        Shape (n,); NaN where the result does not say.
    """

    ids: Sequence[str]
    classes: Sequence[str]
    met: BoolArray
    ttft: FloatArray
    tpot: FloatArray
    e2e: FloatArray
    ttft_limit: FloatArray
    tpot_limit: FloatArray
    e2e_limit: FloatArray
    arrival: FloatArray | None
    start: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each request stands."""
        return {request_id: row for row, request_id in enumerate(self.ids)}

    @cached_property
    def members(self) -> dict[str, IntArray]:
        """Rows of each class, classes by name."""
        names, codes = np.unique(np.array(self.classes), return_inverse=True)
        return {str(name): np.flatnonzero(codes == code) for code, name in enumerate(names)}

    def limit(self, metric: str, name: str) -> float:
        """Return the limit, s, that all of a class have; NaN if they differ, infinite if none."""
        limits = np.unique(getattr(self, f"{metric}_limit")[self.members[name]])
        return float(limits[0]) if len(limits) == 1 else np.nan

    def limited(self, name: str) -> list[str]:
        """Name the times that a class has limits on; all of them if nothing is known of it."""
        metrics = ["ttft", "tpot", "e2e"]
        return [metric for metric in metrics if self.limit(metric, name) != inf] or metrics
