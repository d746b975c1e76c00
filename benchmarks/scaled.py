"""The mix scaled to many replicas: as many copies of its requests, in the same time."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from mix import Mix, settings
from sources import served_per_second

from slosched.core.request import TracedRequest

_APART_S = 1.0  # copies of a request at most, where all come together


@cache
def served(mix: Mix, seed: int) -> float:
    """Requests a second that one engine serves if all are there at once."""
    trace = mix.requests(settings(), 1.0, seed)
    own = settings(["engine.scheduler=vllm-fcfs"])
    return served_per_second(own, [_at(t, 0.0) for t in trace])


def scaled(
    mix: Mix, copies: Iterable[int], load: float, seed: int, *, together: bool = True
) -> list[TracedRequest]:
    """Return the requests of some replicas, one of which is a copy of the mix.

    Parameters
    ----------
    copies
        Numbers of the copies; one is the same whichever others there are.
    load
        Of what each replica can serve, in the mean over the trace.
    together
        Whether copies of a request arrive within a second of each other, so that each burst is as
        many times as high, and no replica has time when another one has not; or each copy of the
        trace begins anywhere in it, so that bursts even out.
    """
    trace = mix.requests(settings(), 1.0, seed)
    first, last = trace[0].request.arrival, trace[-1].request.arrival
    pace = (len(trace) - 1) / (last - first) / (load * served(mix, seed))
    span = (last - first) * pace * len(trace) / (len(trace) - 1)
    made: list[TracedRequest] = []
    for copy in copies:
        rng = np.random.default_rng([seed, copy])
        at = np.array([(t.request.arrival - first) * pace for t in trace])
        if together:
            at += rng.uniform(0.0, _APART_S, len(trace))
        else:
            at = (at + rng.uniform(0.0, span)) % span
        made += _copied(trace, at, copy)
    return sorted(made, key=lambda t: (t.request.arrival, t.request.request_id))


def _copied(trace: Sequence[TracedRequest], at: np.ndarray, copy: int) -> list[TracedRequest]:
    return [
        _at(t, float(when), f"{t.request.request_id}.{copy}")
        for t, when in zip(trace, at, strict=True)
    ]


def _at(traced: TracedRequest, arrival: float, name: str | None = None) -> TracedRequest:
    request_id = traced.request.request_id if name is None else name
    request = replace(traced.request, arrival=arrival, request_id=request_id)
    return replace(traced, request=request)
