"""The objective as the kernels compute it; `slosched.core.objective` says what it means."""

import numpy as np
from numba import njit

from slosched.core.objective import KINDS, TOLERANCE
from slosched.core.types import FloatArray
from slosched_solvers.instance import Instance

ATTAINMENT, G, TARDINESS = KINDS.index("attainment"), KINDS.index("g"), KINDS.index("tardiness")


@njit(nogil=True, cache=True)
def cost(
    instance: Instance, first: FloatArray, finish: FloatArray, kind: int, weights: FloatArray
) -> float:
    """Cost of a rollout's times; lower is better.

    Parameters
    ----------
    first, finish
        Shape (n,): seconds from now, as `rollout` writes them.
    kind
        `Objective.code`.
    weights
        The objective's latency_weight and tardiness_weight.
    """
    n = len(first)
    missed = slope = overdue = latency = total_weight = 0.0
    on_time = 0
    for i in range(n):
        weight = instance.weight[i]
        total_weight += weight
        if finish[i] == np.inf:  # no order can serve it
            missed += weight
            continue
        latency += instance.age[i] + finish[i]
        started = instance.first_ago[i] == instance.first_ago[i]
        first_at = -instance.first_ago[i] if started else first[i]
        tokens = max(instance.produced[i] + instance.remaining[i] - 1, 1)
        over_first = instance.age[i] + first_at - instance.ttft[i]
        over_pace = finish[i] - first_at - instance.tpot[i] * tokens
        over_end = instance.age[i] + finish[i] - instance.e2e[i]
        late = (
            max(
                (instance.age[i] + first_at) / instance.ttft[i],
                (finish[i] - first_at) / (instance.tpot[i] * tokens),
                (instance.age[i] + finish[i]) / instance.e2e[i],
            )
            - 1.0
        )
        if late > TOLERANCE:
            missed += weight
            slope += weight * late / (1.0 + late)
            overdue += weight * max(over_first, over_pace, over_end)
        else:
            on_time += 1
    if kind == ATTAINMENT:
        return missed + weights[0] * latency / n + weights[1] * slope / total_weight
    if kind == G:
        return -on_time / latency if latency > 0.0 else 0.0
    if kind == TARDINESS:
        return overdue + weights[0] * latency / n
    return latency / n
