"""How sure a share of requests is: bootstrap over blocks of arrivals."""

import numpy as np

from slosched.core.types import FloatArray

BLOCK = 25  # requests that came one after the other, and so met the same queue
RESAMPLES = 2000


def interval(values: FloatArray, seed: int = 0) -> tuple[float, float]:
    """Return the 95% confidence interval of a mean, by a circular block bootstrap.

    Parameters
    ----------
    values
        Shape (n,) or (runs, n): a number for each request, in order of arrival. Runs are resampled
        alike: their mean is what is asked about.
    """
    by_request = np.atleast_2d(values).mean(axis=0)
    n = len(by_request)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, n, (RESAMPLES, -(-n // BLOCK)))
    picks = (starts[:, :, None] + np.arange(BLOCK)).reshape(RESAMPLES, -1)[:, :n] % n
    low, high = np.percentile(by_request[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def met(result: dict[str, str]) -> FloatArray:
    """Return 1 for each request of a result that kept its SLO, and 0 for the others."""
    return np.frombuffer(result["met"].encode(), dtype=np.uint8).astype(np.float64) - ord("0")
