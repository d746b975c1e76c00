"""The objective as the kernels compute it; `slosched.core.objective` says what it means."""

from slosched.core.objective import KINDS
from slosched.core.slo import TOLERANCE
from slosched.core.types import FloatArray
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import inlined

ATTAINMENT, G, TARDINESS = KINDS.index("attainment"), KINDS.index("g"), KINDS.index("tardiness")


@inlined
def lateness(instance: Instance, i: int, first: float, finish: float) -> tuple[float, float]:
    """How late request i is: relative to the limit it breaks worst (0 if none), and in seconds.

    `first` and `finish` are seconds from now; `first` counts only if no token is out yet.
    """
    if instance.first_ago[i] == instance.first_ago[i]:
        first = -instance.first_ago[i]
    age = instance.age[i]
    tokens = max(instance.produced[i] + instance.remaining[i] - 1, 1)
    late = max(
        (age + first) / instance.ttft[i],
        (finish - first) / (instance.tpot[i] * tokens),
        (age + finish) / instance.e2e[i],
    )
    if late - 1.0 <= TOLERANCE:
        return 0.0, 0.0
    overdue = max(
        age + first - instance.ttft[i],
        finish - first - instance.tpot[i] * tokens,
        age + finish - instance.e2e[i],
    )
    return late - 1.0, overdue


@inlined
def combine(
    kind: int,
    weights: FloatArray,
    n: int,
    total_weight: float,
    missed: float,
    slope: float,
    overdue: float,
    latency: float,
    on_time: int,
) -> float:
    """Cost of sums over all requests: weight missed, weighted lateness, and seconds in all.

    Parameters
    ----------
    kind
        `Objective.code`.
    weights
        The objective's latency_weight and tardiness_weight.
    """
    if kind == G:
        return -on_time / latency if latency > 0.0 else 0.0
    if kind == ATTAINMENT:
        return missed + weights[0] * latency / n + weights[1] * slope / total_weight
    if kind == TARDINESS:
        return overdue + weights[0] * latency / n
    return latency / n
