"""How good predictions of lengths are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.predictors.calibration import LEVELS, at_level

_LENGTHS = (0, 50, 100, 200, 400, 800)  # tokens to come, from which a row of the table starts


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of some predictions.

    Parameters
    ----------
    n
        How many.
    kendall_tau
        Tau-b between medians and what came: 1 for the right order, 0 for chance. NaN if either is
        the same everywhere.
    mae, rmse
        Tokens; the first of medians, the second of means, which are least for each.
    r2
        Share of the variance that the means explain; NaN without any.
    coverage
        Share of the truth between the 10% and the 90% quantile.
    """

    n: int
    kendall_tau: float
    mae: float
    rmse: float
    r2: float
    coverage: float


def measure(quantiles: FloatArray, left: IntArray) -> Metrics:
    """Hold predictions against what came.

    Parameters
    ----------
    quantiles
        Shape (n, levels): tokens to come at each of `LEVELS`.
    left
        Shape (n,): tokens that came.
    """
    from scipy.stats import kendalltau

    truth = left.astype(np.float64)
    median, mean = at_level(quantiles, 0.5), means(quantiles)
    low, high = at_level(quantiles, 0.1), at_level(quantiles, 0.9)
    varies = len(truth) > 1 and np.ptp(truth) > 0
    ranked = varies and np.ptp(median) > 0
    squared = float(np.mean((truth - mean) ** 2))
    return Metrics(
        n=len(truth),
        kendall_tau=float(kendalltau(median, truth).statistic) if ranked else float("nan"),
        mae=float(np.abs(truth - median).mean()),
        rmse=float(np.sqrt(squared)),
        r2=1 - squared / float(truth.var()) if varies else float("nan"),
        coverage=float(((np.floor(low) <= truth) & (truth <= np.ceil(high))).mean()),
    )


def means(quantiles: FloatArray) -> FloatArray:
    """Mean of each row's distribution: straight lines between the quantiles, flat beyond."""
    weights = np.diff(np.concatenate(([0.0], (LEVELS[1:] + LEVELS[:-1]) / 2, [1.0])))
    made: FloatArray = quantiles @ weights
    return made


def by_length(left: IntArray) -> Iterator[tuple[str, BoolArray]]:
    """Yield ranges of what was to come, and who is in each."""
    for low, high in zip(_LENGTHS, (*_LENGTHS[1:], None), strict=True):
        inside = (left > low) & (left <= (np.inf if high is None else high))
        yield (f"{low + 1}-{high}" if high else f"over {low}"), inside
