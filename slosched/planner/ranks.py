"""Ranks: where everybody stands, in the plan in force and out of it.

Four bands of numbers, so that nobody's place depends on how many others there are: whom the guard
promoted; who came after the plan and cannot wait for the next; who is in the plan, by place; who
came after it and can wait. The two that the plan does not know are in order of arrival.
"""

from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits
from slosched.core.types import LiveRow

_BAND = 2**60
PROMOTED, FRONT, PLANNED, BEHIND = -2 * _BAND, -_BAND, 0, _BAND


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
