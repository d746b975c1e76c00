"""What a schedule is worth: lower cost is better, for every solver alike."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.snapshot import Snapshot
from slosched.core.types import BoolArray, FloatArray

ObjectiveKind = Literal["attainment", "g", "tardiness", "latency"]
KINDS: tuple[ObjectiveKind, ...] = ("attainment", "g", "tardiness", "latency")


@dataclass(frozen=True, slots=True)
class Objective:
    """How first-token and finish times become one number.

    Parameters
    ----------
    kind
        `attainment`: weight of the requests that miss an SLO, then mean latency.
        `g`: minus n / t, the requests that attain their SLO over the sum of all latencies
        (arXiv 2504.14966, section 4.1). `tardiness`: weighted seconds past the limits.
        `latency`: mean completion time, which is ISRTF's aim.
    latency_weight
        Cost of one second of mean latency, in requests; breaks ties of `attainment`.
    tardiness_weight
        Cost of a request that is hopelessly late against one just in time, in requests: the
        slope by which the search finds its way to requests it nearly saves. Below 1.
    """

    kind: ObjectiveKind = "attainment"
    latency_weight: float = 0.001
    tardiness_weight: float = 0.01

    def __post_init__(self) -> None:
        if not self.latency_weight >= 0:
            raise ValueError(f"latency_weight must not be negative, got {self.latency_weight}")
        if not 0 <= self.tardiness_weight < 1:
            raise ValueError(f"tardiness_weight must be in [0, 1), got {self.tardiness_weight}")

    @property
    def code(self) -> int:
        """The kind as a number, for compiled kernels."""
        return KINDS.index(self.kind)


def tardiness(snapshot: Snapshot, first: FloatArray, finish: FloatArray) -> FloatArray:
    """Relative lateness of each request, shape (n,): the worst overrun over its limit, or 0.

    `first` and `finish` are seconds from the snapshot's `now`; `first` is ignored where the
    first token is out already. Who never finishes is infinitely late.
    """
    never = np.isinf(finish)
    first, finish = np.where(never, 0.0, first), np.where(never, 0.0, finish)
    started = ~np.isnan(snapshot.first_token)
    first_at = np.where(started, snapshot.first_token - snapshot.now, first)
    age = snapshot.now - snapshot.arrival
    after_first = np.maximum(snapshot.produced + snapshot.remaining - 1, 1)
    times = (age + first_at, (finish - first_at) / after_first, age + finish)
    limits = (snapshot.ttft, snapshot.tpot, snapshot.e2e)
    over = [
        np.where(np.isinf(limit), 0.0, time / limit - 1.0)
        for time, limit in zip(times, limits, strict=True)
    ]
    return np.where(never, np.inf, np.maximum(np.max(over, axis=0), 0.0))


def attained(snapshot: Snapshot, first: FloatArray, finish: FloatArray) -> BoolArray:
    """Which requests keep all their limits, shape (n,), within rounding."""
    return tardiness(snapshot, first, finish) <= TOLERANCE


TOLERANCE = 1e-9
