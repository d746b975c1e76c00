"""The objective as the kernels compute it; `slosched.core.objective` says what it means."""

from typing import NamedTuple

from slosched.core.objective import KINDS, Objective
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import inlined

ATTAINMENT, G, TARDINESS, LATENCY = (
    KINDS.index(kind) for kind in ("attainment", "g", "tardiness", "latency")
)


class Price(NamedTuple):
    """An objective for one instance."""

    kind: int  # `Objective.code`
    per_latency: float  # cost of a second of the sum of latencies, where it breaks ties
    per_slope: float  # cost of a hopelessly late request of weight 1


def price(objective: Objective, instance: Instance) -> Price:
    """Scale an objective's weights to the requests that there are."""
    total = float(instance.weight.sum())
    n = len(instance.weight)
    if n == 0:  # nobody to search over
        return Price(objective.code, 0.0, 0.0)
    return Price(objective.code, objective.latency_weight / n, objective.tardiness_weight / total)


@inlined
def combine(
    kind: int,
    per_latency: float,
    per_slope: float,
    n: int,
    missed: float,
    slope: float,
    overdue: float,
    latency: float,
    on_time: int,
) -> float:
    """Cost of sums over all requests: weight missed, weighted lateness, and seconds in all."""
    if kind == ATTAINMENT:
        return missed + per_latency * latency + per_slope * slope
    if kind == G:
        return -on_time / latency if latency > 0.0 else 0.0
    if kind == TARDINESS:
        return overdue + per_latency * latency
    return latency / n
