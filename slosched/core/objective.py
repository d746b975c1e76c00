"""What a schedule is worth: lower cost is better, for every solver alike."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.slo import TOLERANCE
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
        Cost of one second of mean latency, in requests; breaks ties of `attainment`. As the plan
        knows nothing of those to come, more of it costs requests on time.
    tardiness_weight
        Cost of a request that is hopelessly late against one just in time, in requests: the
        slope by which the search finds its way to requests it nearly saves. Below 1.
    """

    kind: ObjectiveKind = "attainment"
    latency_weight: float = 0.0001
    tardiness_weight: float = 0.1

    def __post_init__(self) -> None:
        if not self.latency_weight >= 0:
            raise ValueError(f"latency_weight must not be negative, got {self.latency_weight}")
        if not 0 <= self.tardiness_weight < 1:
            raise ValueError(f"tardiness_weight must be in [0, 1), got {self.tardiness_weight}")

    @property
    def code(self) -> int:
        """The kind as a number, for compiled kernels."""
        return KINDS.index(self.kind)


def overrun(
    snapshot: Snapshot, first: FloatArray, finish: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """How far each request is past the limit that it breaks worst; 0 if it keeps them all.

    Parameters
    ----------
    first, finish
        Shape (n,): seconds from the snapshot's `now` to first token and finish; `first` is
        ignored where the first token is out already. Infinite for who never finishes.

    Returns
    -------
    Relative to the limit, and in seconds, each of shape (n,); infinite for who never finishes.
    """
    never = np.isinf(finish)
    first, finish = np.where(never, 0.0, first), np.where(never, 0.0, finish)
    started = ~np.isnan(snapshot.first_token)
    first_at = np.where(started, snapshot.first_token - snapshot.now, first)
    age = snapshot.now - snapshot.arrival
    after_first = np.maximum(snapshot.produced + snapshot.remaining - 1, 1)
    times = np.array([age + first_at, finish - first_at, age + finish])
    limits = np.array([snapshot.ttft, snapshot.tpot * after_first, snapshot.e2e])
    relative = np.max(times / limits, axis=0) - 1.0
    relative = np.where(relative > TOLERANCE, relative, 0.0)
    seconds = np.where(relative > 0, np.max(times - limits, axis=0), 0.0)
    return np.where(never, np.inf, relative), np.where(never, np.inf, seconds)


def attained(snapshot: Snapshot, first: FloatArray, finish: FloatArray) -> BoolArray:
    """Which requests keep all their limits, shape (n,), for times as `overrun` takes them."""
    return overrun(snapshot, first, finish)[0] == 0


def cost(snapshot: Snapshot, objective: Objective, first: FloatArray, finish: FloatArray) -> float:
    """Price a schedule, for times as `overrun` takes them; lower is better.

    Solvers may compute this in another way, but not another number. Who never finishes is
    missed, and counts for nothing else: no order can serve it.
    """
    relative, seconds = overrun(snapshot, first, finish)
    done = np.isfinite(finish)
    late = done & (relative > 0)
    latency = float((snapshot.now - snapshot.arrival + finish)[done].sum())
    weight, n = snapshot.weight, len(snapshot)
    if objective.kind == "g":
        return -int((done & ~late).sum()) / latency if latency > 0 else 0.0
    if objective.kind == "latency":
        return latency / n
    tie_break = objective.latency_weight * latency / n
    if objective.kind == "tardiness":
        return float((weight * seconds)[late].sum()) + tie_break
    missed = float(weight[~done | late].sum())
    slope = float((weight[late] * relative[late] / (1 + relative[late])).sum() / weight.sum())
    return missed + tie_break + objective.tardiness_weight * slope
