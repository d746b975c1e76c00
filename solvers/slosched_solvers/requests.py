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
    base, per_prefill, per_sequence, per_context = instance.latency
    slots, budget, room, lost = instance.limits
    # Arrays by name: numba counts references to all arrays of a tuple that is passed on.
    prefills, contexts, outputs = instance.prefill, instance.context, instance.produced
    ages, agos, weights = instance.age, instance.first_ago, instance.weight
    ttft, tpot, e2e, running = instance.ttft, instance.tpot, instance.e2e, instance.running
    scenarios, n = instance.remaining.shape
    counts = np.empty((scenarios, n, COUNTS), dtype=np.int64)
    times = np.empty((scenarios, n, TIMES))
    waiting = np.flatnonzero(~running)
    by_latest = np.empty((scenarios, len(waiting)), dtype=np.int64)
    latest_of = np.empty(n)
    step_share = base / max(slots, 1) + per_sequence
    for s in range(scenarios):
        for i in range(n):
            prefill, context, age, weight = prefills[i], contexts[i], ages[i], weights[i]
            remaining = instance.remaining[s, i]
            prompt = -(-prefill // budget) * base + prefill * per_prefill
            decodes = remaining - (1 if prefill > 0 else 0)
            held = decodes * (context + prefill) + decodes * (decodes - 1) / 2
            service = prompt + decodes * (base + per_sequence) + per_context * held
            first_by = ttft[i] * ON_TIME - age
            finish_by = e2e[i] * ON_TIME - age
            pace = tpot[i] * max(outputs[i] + remaining - 1, 1) * ON_TIME
            begun = np.inf
            latest = min(first_by - prompt, finish_by - service)
            if agos[i] < np.inf:  # the first token is out; NaN is less than nothing
                begun = -agos[i]
                first_by = np.inf if begun <= first_by else -np.inf
                latest = min(first_by, finish_by - service, pace + begun - service)
            latest_of[i] = latest + _ROUNDING
            toll = (prefill * per_prefill + remaining * step_share) / weight

            fits = 1 if context + prefill + remaining + lost <= room else 0
            of = counts[s, i]
            of[PREFILL], of[CONTEXT], of[REMAINING] = prefill, context, remaining
            of[FITS], of[PLACE] = fits, NEVER
            at = times[s, i]
            at[AGE], at[WEIGHT], at[TTFT], at[E2E] = age, weight, ttft[i], e2e[i]
            at[BEGUN], at[FIRST_BY], at[FINISH_BY], at[PACE] = begun, first_by, finish_by, pace
            at[SERVICE], at[LATEST], at[TOLL] = service, latest_of[i], toll
        by_latest[s] = waiting[np.argsort(latest_of[waiting])]
        for k in range(len(waiting)):
            counts[s, by_latest[s, k], PLACE] = k
    return Requests(counts, times, by_latest, instance.limits, instance.latency)
