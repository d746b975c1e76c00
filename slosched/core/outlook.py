"""How long each request still takes by itself, how long it can wait, and who is late; compiled.

Plans under overload ask this of thousands of requests, of whom numpy would read each column anew.
"""

import numpy as np
from numba import njit

from slosched.core.types import BoolArray, FloatArray, IntArray, LiveArray


@njit(cache=True)
def outlook(
    live: LiveArray, now: float, most: int, latency: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Work out `service`, `slack` and `hopeless` of a snapshot, which see.

    Parameters
    ----------
    live
        Shape (n,), dtype `LIVE`.
    now
        Seconds, on the clock of the arrivals.
    most
        Tokens that a step computes at most.
    latency
        Base, and what a prompt token, a sequence and a token of context add, s.
    """
    base, per_prefill, per_sequence, per_context = latency
    service, slack = np.empty(len(live)), np.empty(len(live))
    hopeless = np.empty(len(live), dtype=np.bool_)
    for i in range(len(live)):
        request = live[i]
        remaining = max(np.rint(request.length - request.produced), 1.0)
        prompt = -(-request.prefill // most) * base + request.prefill * per_prefill
        decodes = remaining - (request.prefill > 0)
        held = decodes * (request.context + request.prefill) + decodes * (decodes - 1) / 2
        service[i] = prompt + decodes * (base + per_sequence) + per_context * held
        finish_by = request.arrival + request.e2e - now - service[i]
        if np.isnan(request.first_token):
            slack[i] = min(request.arrival + request.ttft - now - prompt, finish_by)
            hopeless[i] = slack[i] < 0
        else:
            pace = request.tpot * max(request.produced + remaining - 1, 1.0)
            slack[i] = min(request.first_token + pace - now - service[i], finish_by)
            hopeless[i] = slack[i] < 0 or request.first_token - request.arrival > request.ttft
    return service, slack, hopeless


@njit(cache=True)
def passed(live: LiveArray, least: int) -> IntArray:
    """Work out `Snapshot.passed`, which see."""
    found, n = np.empty(len(live), dtype=np.int64), 0
    for i in range(len(live)):
        if live[i].passes >= least:
            found[n] = i
            n += 1
    return found[:n].copy()
