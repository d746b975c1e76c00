"""Learns a calibration: quantiles that hold on answers which the head never saw.

Split conformal prediction: what a head says of answers that it was not trained on is held against
how long they came to be, and the quantiles of that are its predictions. They hold for any head,
however wrong, as long as requests stay alike (Vovk, Gammerman, Shafer 2005; for heads that say
quantiles Romano, Patterson, Candes, arXiv 1905.03222).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from slosched.core.errors import ModelError
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.predictors.calibration import LEVELS, Calibration
from slosched.predictors.head import HeadKind, score

GROUPS = (50, 100, 200, 400)  # tokens produced, from which another group starts
_BINS = 16  # of scores, in a group
_NEAR = 3  # bins that a quantile is taken from, overlapping
_RAREST = 1e-3
LEAST = 60  # answers in a group that stands for itself


def calibrate(
    kind: HeadKind,
    outputs: NDArray[np.float32],
    produced: IntArray,
    left: IntArray,
    cut_off: BoolArray,
) -> Calibration:
    """Learn which lengths follow on which outputs, from answers that the head never saw.

    Parameters
    ----------
    outputs
        Shape (n, k): of the head.
    produced, left
        Shape (n,): output tokens that were out, and that were still to come.
    cut_off
        Shape (n,): whether there would have been more, but for a bound that the client had set.

    Raises
    ------
    ModelError
        If there are fewer than 60 answers.
    """
    if len(left) < LEAST:
        raise ModelError(f"calibration needs at least {LEAST} answers, got {len(left)}")
    starts = _starts(produced)
    group = np.searchsorted(starts, produced, side="right") - 1
    scores = np.zeros((len(starts), _BINS))
    logs = np.zeros((len(starts), _BINS, len(LEVELS)))
    truth = np.log1p(left.astype(np.float64))
    for g in range(len(starts)):
        members = group == g
        if kind == "quantile":
            said = np.sort(outputs[members].astype(np.float64), axis=1)
            errors = truth[members][:, None] - said
            logs[g] = [
                _levels(errors[:, k], cut_off[members], np.array([level]))[0]
                for k, level in enumerate(LEVELS)
            ]
        else:
            said = score(kind, outputs[members])
            scores[g], logs[g] = _by_score(said, truth[members], cut_off[members])
    return Calibration(starts, scores, logs)


def _starts(produced: IntArray) -> IntArray:
    """Choose groups with enough answers in each, from the last one backwards."""
    kept = [0]
    for start in GROUPS:
        after = int((produced >= start).sum())
        since = int(((produced >= kept[-1]) & (produced < start)).sum())
        if after >= LEAST and since >= LEAST:
            kept.append(int(start))
    return np.array(kept)


def _by_score(
    scores: FloatArray, truth: FloatArray, cut_off: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the truth in overlapping bins of scores."""
    order = np.argsort(scores, kind="stable")
    scores, truth, cut_off = scores[order], truth[order], cut_off[order]
    edges = np.linspace(0, len(scores), _BINS + 1)
    centres, logs = np.empty(_BINS), np.empty((_BINS, len(LEVELS)))
    for b in range(_BINS):
        low, high = max(b - _NEAR // 2, 0), min(b + _NEAR // 2 + 1, _BINS)
        inside = slice(int(edges[low]), max(int(edges[high]), int(edges[low]) + 1))
        centres[b] = scores[inside].mean()
        logs[b] = _levels(truth[inside], cut_off[inside], LEVELS)
    # The longer it is said to be, the longer it is: at every level.
    rising = [isotonic_regression(logs[:, k]).x for k in range(len(LEVELS))]
    return centres, np.stack(rising, axis=1)


def _levels(values: FloatArray, cut_off: BoolArray, levels: FloatArray) -> FloatArray:
    """Quantiles with the correction for few values, so that as many as said fall below each.

    Values that were cut off are at least what they are (Kaplan and Meier, 1958). Beyond the last
    that was not, a value becomes less likely by as much for each token, as it was until there.
    """
    n = len(values)
    few = np.where(levels > 0.5, levels * (n + 1) / n, 1 - (1 - levels) * (n + 1) / n)
    shares = np.clip(few, 0.0, 1.0)
    if not cut_off.any():
        return np.asarray(np.quantile(values, shares), dtype=np.float64)
    if cut_off.all():
        return np.full(len(levels), values.max())
    from scipy.stats import CensoredData, ecdf

    below = ecdf(CensoredData.right_censored(values, cut_off)).cdf
    at = np.searchsorted(below.probabilities, shares)
    last = len(below.quantiles) - 1
    per_end = np.expm1(values).sum() / (~cut_off).sum()
    rarer = (1.0 - below.probabilities[last]) / np.maximum(1.0 - shares, _RAREST)
    with np.errstate(divide="ignore"):  # where nobody is beyond the last
        beyond = per_end * np.maximum(np.log(rarer), 0.0)
    tail = np.log1p(np.expm1(values[~cut_off].max()) + beyond)
    return np.where(at <= last, below.quantiles[np.minimum(at, last)], tail)
