"""The records of several engines that shared a trace, as one."""

from collections.abc import Sequence

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched.sim.histogram import Histogram
from slosched.sim.records import Records, Spread


def join(parts: Sequence[Records]) -> Records:
    """Put what engines recorded side by side into one, in order of arrival.

    Counts add up; the duration is from the first arrival anywhere to the last finish anywhere;
    the margin is the largest that any planner learnt.

    Parameters
    ----------
    parts
        At least one; no request in two of them.
    """
    arrival = np.concatenate([part.arrival for part in parts])
    finish = np.concatenate([part.finish for part in parts])
    order: IntArray = np.argsort(arrival, kind="stable")
    trace = [traced for part in parts for traced in part.trace]
    began = float(arrival.min(initial=np.inf))
    return Records(
        trace=[trace[i] for i in order],
        first_token=np.concatenate([part.first_token for part in parts])[order],
        finish=finish[order],
        output_tokens=np.concatenate([part.output_tokens for part in parts])[order],
        itl=histogram([part.itl for part in parts]),
        duration=_since(began, finish),
        steps=sum(part.steps for part in parts),
        preemptions=sum(part.preemptions for part in parts),
        plan_failures=sum(part.plan_failures for part in parts),
        plans=sum(part.plans for part in parts),
        plan_age=_spread([part.plan_age for part in parts]),
        margin=max(part.margin for part in parts),
    )


def _since(began: float, finish: FloatArray) -> float:
    served = finish[~np.isnan(finish)]
    return float(served.max()) - began if len(served) else 0.0


def histogram(parts: Sequence[Histogram]) -> Histogram:
    """Put histograms together."""
    whole = Histogram()
    for part in parts:
        whole.counts += part.counts
        whole.total += part.total
        whole.squares += part.squares
    return whole


def _spread(parts: Sequence[Spread]) -> Spread:
    return Spread(
        sum(part.count for part in parts),
        sum(part.total for part in parts),
        max(part.most for part in parts),
    )
