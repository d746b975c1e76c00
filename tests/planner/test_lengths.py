"""Predicted lengths, as they are written down."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from slosched import Request
from slosched.core.types import FloatArray, IntArray, LiveArray
from slosched.planner.kernels import due
from slosched.planner.lengths import predict
from tests.planner.parts import request, table_of


@dataclass
class Says:
    """A predictor for tests."""

    left: float | list[float]

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        return np.array([self.left for _ in zip(requests, produced, strict=True)])


def whom(live: LiveArray) -> IntArray:
    found: IntArray = due(live, np.arange(len(live)))
    return found


def test_the_first_guess_stays_whatever_is_predicted_later() -> None:
    live = table_of(1).rows[:1]
    assert np.isnan(live["first_guess"][0])
    predict(live, whom(live), [request(0)], Says([10.0, 50.0, 150.0]), every=50)
    assert len(whom(live)) == 0
    live["produced"] = 50
    predict(live, whom(live), [request(0)], Says(200.0), every=50)
    assert (live["length"][0], live["first_guess"][0]) == (250, 70)


@pytest.mark.parametrize("left", [float("nan"), float("inf"), [1.0, 2.0]])
def test_what_is_no_prediction_changes_nothing(left: float | list[float]) -> None:
    live = table_of(2).rows[:2]
    before = live.copy()
    with pytest.raises(ValueError, match="must answer a finite number, or 3, for each of 2"):
        predict(live, whom(live), [request(0), request(1)], Says(left), every=50)
    assert live.tobytes() == before.tobytes()
