"""When each request is on time, and from when on it cannot be any more."""

from typing import NamedTuple

import numpy as np

from slosched.core.slo import TOLERANCE
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import inlined, kernel
from slosched_solvers.slots import NEVER

ON_TIME = 1.0 + TOLERANCE
_ROUNDING = 1e-9  # s; what a sum of steps may be off


class Deadlines(NamedTuple):
    """What follows from an instance alone; seconds from now, (scenarios, n) if not said."""

    first: FloatArray  # (n,): of the first token; where it is out, inf if that was in time
    finish: FloatArray  # (n,)
    pace: FloatArray  # between first token and finish
    service: FloatArray  # with the engine to itself
    latest: FloatArray  # who has not begun by then is late, whatever is done
    by_latest: IntArray  # waiting requests, the most urgent first
    place: IntArray  # of each request in `by_latest`; NEVER for who runs
    fits_alone: BoolArray  # whether the KV cache can hold it to its end


@kernel
def deadlines(instance: Instance) -> Deadlines:
    """Work out the deadlines of all requests."""
    scenarios, n = instance.remaining.shape
    first, finish = np.empty(n), np.empty(n)
    pace, service, latest = (
        np.empty((scenarios, n)), np.empty((scenarios, n)), np.empty((scenarios, n)),
    )  # fmt: skip
    for i in range(n):
        first[i] = instance.ttft[i] * ON_TIME - instance.age[i]
        if started(instance, i):
            first[i] = np.inf if -instance.first_ago[i] <= first[i] else -np.inf
        finish[i] = instance.e2e[i] * ON_TIME - instance.age[i]
        for s in range(scenarios):
            tokens = max(instance.produced[i] + instance.remaining[s, i] - 1, 1)
            pace[s, i] = instance.tpot[i] * tokens * ON_TIME
            prompt, answer = alone(instance, s, i)
            service[s, i] = prompt + answer
            last = min(first[i] - prompt, finish[i] - service[s, i])
            if started(instance, i):
                last = min(last, pace[s, i] - instance.first_ago[i] - service[s, i])
            latest[s, i] = last + _ROUNDING
    waiting = np.flatnonzero(~instance.running)
    by_latest = np.empty((scenarios, len(waiting)), dtype=np.int64)
    place = np.full((scenarios, n), NEVER)
    for s in range(scenarios):
        by_latest[s] = waiting[np.argsort(latest[s][waiting])]
        for k in range(len(waiting)):
            place[s, by_latest[s, k]] = k
    whole = instance.context + instance.prefill + instance.remaining
    fits_alone = whole + instance.limits[3] <= instance.limits[2]
    return Deadlines(first, finish, pace, service, latest, by_latest, place, fits_alone)


@inlined
def started(instance: Instance, i: int) -> bool:
    """Whether a request's first token is out."""
    return instance.first_ago[i] == instance.first_ago[i]


@inlined
def alone(instance: Instance, s: int, i: int) -> tuple[float, float]:
    """Seconds for prompt and answer with the engine to itself: less than in any batch."""
    base, per_prefill, per_sequence, per_context = instance.latency
    steps = -(-instance.prefill[i] // instance.limits[1])
    decodes = instance.remaining[s, i] - (1 if instance.prefill[i] > 0 else 0)
    context = instance.context[i] + instance.prefill[i]
    held = decodes * context + decodes * (decodes - 1) / 2
    return (
        steps * base + instance.prefill[i] * per_prefill,
        decodes * (base + per_sequence) + per_context * held,
    )
