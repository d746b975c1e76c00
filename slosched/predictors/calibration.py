"""From what a head says to what comes true: quantiles of the tokens to come."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.head import HeadKind, score

LEVELS: FloatArray = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])


def at_level(quantiles: FloatArray, level: float) -> FloatArray:
    """Take one of `LEVELS`, the nearest, out of quantiles of shape (n, levels)."""
    column: FloatArray = quantiles[:, int(np.argmin(np.abs(LEVELS - level)))]
    return column


@dataclass(frozen=True)
class Calibration:
    """What lengths to expect for a head's outputs, by how much of the answer is out.

    Parameters
    ----------
    starts
        Shape (g,): output tokens from which each group holds, ascending from 0.
    scores
        Shape (g, bins): ascending; centres of bins of scores. Of a quantile head all zero.
    logs
        Shape (g, bins, levels): log(1 + tokens to come) at each score and level; of a quantile
        head, what is to be added to its outputs, the same in all bins.
    """

    starts: IntArray
    scores: FloatArray
    logs: FloatArray

    def quantiles(
        self, kind: HeadKind, outputs: NDArray[np.float32], produced: IntArray
    ) -> FloatArray:
        """Tokens to come at each of `LEVELS`, shape (n, levels), ascending, at least 1."""
        group = np.searchsorted(self.starts, produced, side="right") - 1
        if kind == "quantile":
            logs = np.sort(outputs.astype(np.float64), axis=1) + self.logs[group, 0]
        else:
            logs = self._between(group, score(kind, outputs))
        tokens: FloatArray = np.expm1(np.maximum.accumulate(logs, axis=1))
        return np.maximum(tokens, 1.0)

    def _between(self, group: IntArray, scores: FloatArray) -> FloatArray:
        """Interpolate between the bins of each group."""
        logs = np.empty((len(scores), len(LEVELS)))
        for g in np.unique(group):
            members = group == g
            bins = self.scores[g]
            right = np.clip(np.searchsorted(bins, scores[members]), 1, len(bins) - 1)
            gap = bins[right] - bins[right - 1]
            share = (scores[members] - bins[right - 1]) / np.where(gap > 0, gap, 1.0)
            share = np.clip(share, 0.0, 1.0)[:, None]
            logs[members] = self.logs[g, right - 1] * (1 - share) + self.logs[g, right] * share
        return logs

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return what a file keeps of it, by name."""
        return {
            "calibration.starts": self.starts,
            "calibration.scores": self.scores,
            "calibration.logs": self.logs,
        }


def calibration_from(tensors: Mapping[str, NDArray[np.generic]]) -> Calibration:
    """Build it from a file's tensors; ModelError if they do not fit together."""
    try:
        starts, scores, logs = (
            tensors[f"calibration.{name}"] for name in ("starts", "scores", "logs")
        )
    except KeyError as error:
        raise ModelError(f"the tensor {error.args[0]} is missing") from None
    if scores.shape[:1] != starts.shape or logs.shape != (*scores.shape, len(LEVELS)):
        raise ModelError(
            f"calibration of {starts.shape} groups, {scores.shape} scores and {logs.shape} logs"
        )
    return Calibration(starts.astype(np.int64), scores.astype(np.float64), logs.astype(np.float64))
