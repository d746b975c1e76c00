"""The records of several engines that shared a trace, as one."""

from collections.abc import Sequence
from math import inf

import numpy as np

from slosched.core.request import Request
from slosched.core.types import FloatArray
from slosched.sim.records import Records, Spread


def join(parts: Sequence[Records]) -> Records:
    """Put what engines recorded side by side into one, in order of arrival, then id.

    Counts add up; the duration is from the first arrival anywhere to the last finish anywhere;
    the margin is the largest that any planner learnt.

    Parameters
    ----------
    parts
        At least one; no request in two of them.
    """
    trace = [traced for part in parts for traced in part.trace]
    order = sorted(range(len(trace)), key=lambda i: _place(trace[i].request))

    def in_order(times: Sequence[FloatArray]) -> FloatArray:
        return np.concatenate(times)[order]

    begins = [min((t.request.arrival for t in part.trace), default=inf) for part in parts]
    ends = [begin + part.duration for begin, part in zip(begins, parts, strict=True)]
    some = [i for i, begin in enumerate(begins) if begin < inf]
    return Records(
        trace=[trace[i] for i in order],
        first_token=in_order([part.first_token for part in parts]),
        finish=in_order([part.finish for part in parts]),
        itl=np.concatenate([part.itl for part in parts]),
        duration=max(ends[i] for i in some) - min(begins[i] for i in some) if some else 0.0,
        steps=sum(part.steps for part in parts),
        preemptions=sum(part.preemptions for part in parts),
        plan_failures=sum(part.plan_failures for part in parts),
        plans=sum(part.plans for part in parts),
        plan_age=_spread([part.plan_age for part in parts]),
        margin=max(part.margin for part in parts),
    )


def _place(request: Request) -> tuple[float, str]:
    return request.arrival, request.request_id


def _spread(spreads: Sequence[Spread]) -> Spread:
    return Spread(
        sum(spread.count for spread in spreads),
        sum(spread.total for spread in spreads),
        max(spread.most for spread in spreads),
    )
