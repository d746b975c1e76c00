"""Predicted lengths: asked for before the first plan, and again as the answer grows."""

from collections.abc import Sequence

import numpy as np

from slosched.core.protocols import Predictor
from slosched.core.request import Request
from slosched.core.snapshot import SCENARIOS
from slosched.core.types import FloatArray, IntArray, LiveArray

MOST_TOKENS = 2.0**24  # no answer is longer; arithmetic on lengths stays exact


def predict(
    live: LiveArray, rows: IntArray, requests: Sequence[Request], predictor: Predictor, every: int
) -> None:
    """Write what a predictor expects of some requests; they are due again `every` tokens later.

    Parameters
    ----------
    live
        Shape (n,), dtype `LIVE`.
    rows, requests
        Whom to predict: where in `live`, and who.

    Raises
    ------
    ValueError
        If the predictor answers with anything but a finite number for each, or `SCENARIOS`.
    """
    produced: IntArray = live["produced"][rows]
    left = np.asarray(predictor.remaining(requests, produced))
    if left.shape == produced.shape:  # one number each: the predictor is sure
        left = np.repeat(left[:, None], len(SCENARIOS), axis=1)
    if left.shape != (len(rows), len(SCENARIOS)) or not np.isfinite(left).all():
        raise ValueError(
            f"a predictor must answer a finite number, or {len(SCENARIOS)}, for each of "
            f"{len(rows)} requests, got {left}"
        )
    lengths = produced[:, None] + np.clip(left, 1.0, MOST_TOKENS)
    for column, scenario in enumerate(SCENARIOS):
        live[scenario][rows] = lengths[:, column]
    first = np.isnan(live["first_guess"][rows])
    live["first_guess"][rows[first]] = lengths[first].mean(axis=1)
    live["predict_at"][rows] = produced + every


class Usual:
    """What is expected of anybody of whom nothing is predicted: as much as others said.

    Parameters
    ----------
    tokens
        To begin with.
    """

    def __init__(self, tokens: float = 200.0) -> None:
        self.tokens = tokens

    def learn(self, output_tokens: int) -> None:
        """Take note of a finished request's length; the last fifty count most."""
        self.tokens += (output_tokens - self.tokens) / 50

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect as much of everybody, whatever was said already."""
        del produced
        return np.full(len(requests), self.tokens)
