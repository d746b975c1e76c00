"""What a rollout reads of each request, side by side: one cache line instead of a dozen."""

from typing import NamedTuple

import numpy as np

from slosched.core.slo import TOLERANCE
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import kernel
from slosched_solvers.slots import NEVER

# Of `Requests.counts`; tokens.
PREFILL, CONTEXT, REMAINING = 0, 1, 2
FITS = 3  # 1 if the KV cache can hold it to its end
PLACE = 4  # in `by_latest`; NEVER for who runs
COUNTS = 5

# Of `Requests.times`; seconds from now, or in all.
AGE, WEIGHT, TTFT, E2E = 0, 1, 2, 3
BEGUN = 4  # when its first token came out; inf if that is to come
FIRST_BY, FINISH_BY = 5, 6  # on time if not later; -inf if the first token was late
PACE = 7  # from first token to finish at most
SERVICE = 8  # with the engine to itself: less than in any batch
LATEST = 9  # who has not begun by then is late, whatever is done
TOLL = 10  # of a full engine, by the request's weight: what it costs the others to serve it
TIMES = 11

ON_TIME = 1.0 + TOLERANCE
_ROUNDING = 1e-9  # s; what a sum of steps may be off


class Requests(NamedTuple):
    """An instance as rollouts read it, in each scenario of lengths, s."""

    counts: IntArray  # (s, n, COUNTS)
    times: FloatArray  # (s, n, TIMES)
    by_latest: IntArray  # (s, waiting): waiting requests, the most urgent first
    limits: IntArray  # as in Instance
    latency: FloatArray


@kernel
def requests(instance: Instance) -> Requests:
    """Work out what rollouts need, once for all of them."""
    scenarios, n = instance.remaining.shape
    counts = np.empty((scenarios, n, COUNTS), dtype=np.int64)
    times = np.empty((scenarios, n, TIMES))
    waiting = np.flatnonzero(~instance.running)
    by_latest = np.empty((scenarios, len(waiting)), dtype=np.int64)
    for s in range(scenarios):
        for i in range(n):
            _describe(instance, s, i, counts[s, i], times[s, i])
        by_latest[s] = waiting[np.argsort(times[s][waiting, LATEST])]
        for k in range(len(waiting)):
            counts[s, by_latest[s, k], PLACE] = k
    return Requests(counts, times, by_latest, instance.limits, instance.latency)


@kernel
def _describe(instance: Instance, s: int, i: int, counts: IntArray, times: FloatArray) -> None:
    base, per_prefill, per_sequence, per_context = instance.latency
    prefill, context = instance.prefill[i], instance.context[i]
    remaining, age = instance.remaining[s, i], instance.age[i]
    counts[PREFILL], counts[CONTEXT], counts[REMAINING] = prefill, context, remaining
    whole = context + prefill + remaining
    counts[FITS] = 1 if whole + instance.limits[3] <= instance.limits[2] else 0
    counts[PLACE] = NEVER

    prompt = -(-prefill // instance.limits[1]) * base + prefill * per_prefill
    decodes = remaining - (1 if prefill > 0 else 0)
    held = decodes * (context + prefill) + decodes * (decodes - 1) / 2
    service = prompt + decodes * (base + per_sequence) + per_context * held
    tokens = max(instance.produced[i] + remaining - 1, 1)
    begun, ago = np.inf, instance.first_ago[i]
    first_by = instance.ttft[i] * ON_TIME - age
    finish_by = instance.e2e[i] * ON_TIME - age
    pace = instance.tpot[i] * tokens * ON_TIME
    latest = min(first_by - prompt, finish_by - service)
    if ago < np.inf:  # the first token is out; NaN is less than nothing
        begun = -ago
        first_by = np.inf if begun <= first_by else -np.inf
        latest = min(first_by, finish_by - service, pace + begun - service)
    times[AGE], times[WEIGHT] = age, instance.weight[i]
    times[TTFT], times[E2E], times[BEGUN] = instance.ttft[i], instance.e2e[i], begun
    times[FIRST_BY], times[FINISH_BY], times[PACE] = first_by, finish_by, pace
    times[SERVICE], times[LATEST] = service, latest + _ROUNDING
    step = base / max(instance.limits[0], 1) + per_sequence
    times[TOLL] = (prefill * per_prefill + remaining * step) / instance.weight[i]
