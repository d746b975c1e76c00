"""The latency model from observations: robust least squares on relative errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slosched.calibrate.observation import FITTED, Observation, design, times
from slosched.core.errors import SloschedError
from slosched.core.latency import LinearLatency
from slosched.core.types import FloatArray

# Errors beyond this share of a measurement count by their size, not by their square.
_USUAL_ERROR = 0.05
_LEAST_SHARE = 1e-6  # of a measurement: what is less than that at most, is rounding
LEAST_BASE_S = 1e-6  # a base of zero would let an idle engine's clock stand still


@dataclass(frozen=True, slots=True)
class Fitted:
    """A latency model, and what a request costs outside of steps.

    Parameters
    ----------
    overhead
        Seconds that a request's first token takes beyond the steps that it needs.
    """

    latency: LinearLatency
    overhead: float

    def seconds(self, observations: Sequence[Observation]) -> FloatArray:
        """Say how long each stretch should have taken, shape (n,)."""
        model = self.latency
        coefficients = (
            model.base, model.per_prefill_token, model.per_sequence, model.per_context_token,
            self.overhead,
        )  # fmt: skip
        seconds: FloatArray = design(observations) @ np.array(coefficients)
        return seconds


def fit(observations: Sequence[Observation]) -> Fitted:
    """Fit the model to the observations of the regimes that are fitted.

    The loss is Huber's, smoothed (`soft_l1`): as squares for usual errors, linear for those of a
    stretch that something disturbed. Residuals are relative, so that a step of 30 ms counts as
    much as a prompt of 3 s; no coefficient is negative. The problem is convex, so the answer does
    not depend on where the search starts.

    Raises
    ------
    SloschedError
        If there are no steps of decoding, or none with prompts.
    """
    chosen = [o for o in observations if o.regime in FITTED]
    if not {o.regime for o in chosen} >= set(FITTED):
        raise SloschedError("a fit needs measurements of prompts and of decoding")
    base, prefill, sequence, context, overhead = solve(design(chosen), times(chosen)).tolist()
    return Fitted(LinearLatency(max(base, LEAST_BASE_S), prefill, sequence, context), overhead)


def solve(computed: FloatArray, seconds: FloatArray) -> FloatArray:
    """Find what each column of what was computed costs, 0 or more; 0 of what nothing shows.

    Parameters
    ----------
    computed
        Shape (n, coefficients).
    seconds
        Shape (n,): how long each row took.
    """
    # What the model says, as a share of what was measured: 1 would be right.
    share = computed / seconds[:, None]
    scale = share.max(axis=0)
    shown = scale > 0
    found = np.zeros(len(scale))
    found[shown] = _least_squares(share[:, shown] / scale[shown]) / scale[shown]
    return found


def _least_squares(share: FloatArray) -> FloatArray:
    from scipy.optimize import least_squares, nnls

    start, _ = nnls(share, np.ones(len(share)))
    exact = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-12)
    found: FloatArray = least_squares(
        lambda x: share @ x - 1,
        np.maximum(start, 1e-9),  # the search must not start on a bound
        jac=lambda _: share,
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=_USUAL_ERROR,
        **exact,
    ).x
    return np.where(found < _LEAST_SHARE, 0.0, found)
