"""The detailed latency model from observations: what simulations take a step to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from slosched.calibrate.fit import LEAST_BASE_S, solve
from slosched.calibrate.observation import Observation, Regime, times
from slosched.core.detailed_latency import DetailedLatency
from slosched.core.types import FloatArray

DETAILED = (Regime.prefill, Regime.decode, Regime.mixed)  # bursts check what comes out


@dataclass(frozen=True, slots=True)
class Detailed:
    """A detailed latency model, and what a request costs outside of steps.

    Parameters
    ----------
    overhead
        Seconds that a request's first token takes beyond the steps that it needs.
    """

    latency: DetailedLatency
    overhead: float

    def seconds(self, observations: Sequence[Observation]) -> FloatArray:
        """Say how long each stretch should have taken, shape (n,)."""
        model, levels = self.latency, [number for number, _ in self.latency.sequences]
        rises = np.diff([seconds for _, seconds in model.sequences])
        coefficients = np.array(
            [model.base, model.per_prefill_token, model.prompt_step, model.per_context_token,
             self.overhead, *rises]
        )  # fmt: skip
        seconds: FloatArray = _design(observations, levels) @ coefficients
        return seconds


def fit_in_detail(observations: Sequence[Observation]) -> Detailed | None:
    """Fit the detailed model, as robustly as `fit` does the linear one.

    Numbers of sequences are those that were measured without prompts; the least of them, mostly
    one, adds nothing: from outside, that could as well be overhead. What a step with prompts takes
    more shows only beside sequences that decode.

    Returns
    -------
    None if there are no such measurements: then a line is all there is.
    """
    chosen = [o for o in observations if o.regime in DETAILED]
    if {o.regime for o in chosen} < set(DETAILED):
        return None
    decodes = [o for o in chosen if o.regime is Regime.decode]
    levels = sorted({round(o.sequences / o.steps) for o in decodes})
    found = solve(_design(chosen, levels), times(chosen)).tolist()
    base, prefill, prompt_step, context, overhead = found[:5]
    added = np.cumsum([0.0, *found[5:]]).tolist()
    pairs = tuple(zip(levels, added, strict=True))
    model = DetailedLatency(max(base, LEAST_BASE_S), prefill, context, prompt_step, pairs)
    return Detailed(model, overhead)


def _design(observations: Sequence[Observation], levels: Sequence[int]) -> FloatArray:
    """Put what was computed into an array, shape (n, 4 + levels), as the coefficients go.

    The last ones are what each level adds to the one before it.
    """
    computed = [(o.steps, o.prefill, o.prompt_steps, o.context, o.requests) for o in observations]
    steps = np.array([o.steps for o in observations], dtype=np.float64)
    together = np.array([o.sequences for o in observations]) / steps
    rises = [
        steps * np.clip((together - fewer) / (more - fewer), 0.0, 1.0)
        for fewer, more in pairwise(levels)
    ]
    return np.column_stack((np.array(computed, dtype=np.float64).reshape(-1, 5), *rises))
