"""Ranks: where everybody stands, in the plan in force and out of it.

Four bands of numbers, so that nobody's place depends on how many others there are: whom the guard
promoted; who came after the plan and cannot wait for the next; who is in the plan, by place; who
came after it and can wait. The two that the plan does not know are in order of arrival.
"""

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.plan import Plan
from slosched.core.snapshot import EngineLimits
from slosched.core.types import BoolArray, IntArray, LiveArray, LiveRow
from slosched.planner.job import Job

_BAND = 2**60
PROMOTED, FRONT, PLANNED, BEHIND = -2 * _BAND, -_BAND, 0, _BAND


def still_there(rows: LiveArray, job: Job, whom: IntArray | None = None) -> BoolArray:
    """Which requests of a job's snapshot, or some of them, are in the same row of the table still.

    Shape (n,), or that of `whom`, which are rows of the snapshot.
    """
    at, serial = job.rows, job.snapshot.live["serial"]
    if whom is not None:
        at, serial = at[whom], serial[whom]
    same: BoolArray = rows["serial"][at] == serial
    return same


def put_in_force(rows: LiveArray, job: Job, plan: Plan, promoted: IntArray) -> IntArray:
    """Give everybody whom the plan knows its rank.

    Parameters
    ----------
    rows
        The table's rows, which may have changed hands since the job's snapshot.
    promoted
        Rows of the snapshot that are at the front of the plan, in this order.

    Returns
    -------
    Table rows that the plan preempts, and that are still running.
    """
    there = still_there(rows, job)
    rank = np.empty(len(job.rows), dtype=np.int64)
    rank[plan.order] = PLANNED + np.arange(len(rank))
    rank[promoted] = PROMOTED + np.arange(len(promoted))
    rows["rank"][job.rows[there]] = rank[there]
    preempt: IntArray = job.rows[plan.preempt[there[plan.preempt]]]
    running: BoolArray = rows["running"][preempt]
    return preempt[running]


def newcomer_rank(
    newcomer: LiveRow, now: float, limits: EngineLimits, latency: LinearLatency, wait: float
) -> int:
    """Rank a request that no plan knows, in constant time.

    One that would be late if it waited for the next plan goes in front of the plan. One that has
    time goes behind it, and so does one that is late whatever happens: its haste would make
    others late.

    Parameters
    ----------
    newcomer
        Its row of the table.
    now, limits, latency
        As in a snapshot, whose `slack` this is about.
    wait
        Seconds until it may be in a plan.
    """
    prefill, answer = float(newcomer["prefill"]), max(round(float(newcomer["length"])), 1) - 1.0
    prompt = latency.prompt_alone(prefill, limits.max_num_batched_tokens)
    took = latency.answer_alone(answer, float(newcomer["context"]) + prefill)
    allowed = min(float(newcomer["ttft"]), float(newcomer["e2e"]) - took) - prompt
    slack = float(newcomer["arrival"]) + allowed - now
    return (FRONT if 0 <= slack <= wait else BEHIND) + int(newcomer["serial"])
