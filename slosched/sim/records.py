"""What happened to every request of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slosched.core.request import TracedRequest
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched.sim.histogram import Histogram


@dataclass(slots=True)
class Spread:
    """Mean and maximum of numbers that nobody keeps."""

    count: int = 0
    total: float = 0.0
    most: float = 0.0

    @property
    def mean(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / max(self.count, 1)

    def add(self, number: float) -> None:
        """Take note of a number that is not negative."""
        self.count += 1
        self.total += number
        self.most = max(self.most, number)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of requests, in virtual time or on a real engine.

    Parameters
    ----------
    trace
        The requests, with the answers' true lengths.
    first_token, finish
        Shape (n,), s, on the clock of the arrivals; NaN for a request that was not served.
    output_tokens
        Shape (n,): lengths of the answers.
    itl
        Seconds between consecutive tokens of one request, all requests.
    duration
        Seconds from the first arrival to the last finish.
    """

    trace: Sequence[TracedRequest]
    first_token: FloatArray
    finish: FloatArray
    output_tokens: IntArray
    itl: Histogram
    duration: float

    @property
    def arrival(self) -> FloatArray:
        """Arrivals, s."""
        return np.array([traced.request.arrival for traced in self.trace])

    @property
    def finished(self) -> BoolArray:
        """Who came to an end."""
        return ~np.isnan(self.finish)

    @property
    def ttft(self) -> FloatArray:
        """Seconds from arrival to the first token."""
        return self.first_token - self.arrival

    @property
    def e2e(self) -> FloatArray:
        """Seconds from arrival to the last token."""
        return self.finish - self.arrival

    @property
    def tpot(self) -> FloatArray:
        """Seconds for each token after the first; 0 for an answer of one token."""
        return (self.finish - self.first_token) / np.maximum(self.output_tokens - 1, 1)

    @property
    def attained(self) -> BoolArray:
        """Who kept all limits of its SLO; a request that was not served did not."""
        times = zip(self.trace, self.ttft, self.tpot, self.e2e, strict=True)
        return np.array([t.request.slo.attained(a, b, c) for t, a, b, c in times], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Records(Outcomes):
    """The same of a run in virtual time, and what the engine and the planner did.

    Parameters
    ----------
    steps, preemptions, plan_failures, plans
        Counts over the run.
    plan_age
        Seconds since the snapshot of the plan in force, over the steps.
    margin
        The planner's at the end.
    """

    steps: int
    preemptions: int
    plan_failures: int
    plans: int
    plan_age: Spread
    margin: float
