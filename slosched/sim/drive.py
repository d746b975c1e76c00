"""Steps on the device, and how many of them may pass before anybody has to look."""

from typing import NamedTuple

import numpy as np
from numba import njit

from slosched.core.types import FloatArray, IntArray, LiveArray
from slosched.planner.observed import REFIT
from slosched.sim.arrange import follow
from slosched.sim.outputs import deliver, settle
from slosched.sim.schedule import schedule
from slosched.sim.state import Rules, State


class Costs(NamedTuple):
    """What a step takes, s: as `DetailedLatency` has it, for kernels."""

    base: float
    per_prefill_token: float
    prompt_step: float
    per_context_token: float
    by_sequences: FloatArray  # shape (max_num_seqs + 1,)


_NOBODY_LOSES = np.empty(0, dtype=np.int64)


@njit(cache=True)
def launch(
    rule: Rules, state: State, tokens: int, costs: Costs, factors: FloatArray, planned_at: float
) -> None:  # fmt: skip
    """Hand the batch that was made last to the device, which begins once it is free.

    Parameters
    ----------
    tokens
        That it computes; an empty one is over at once.
    costs
        Of a step.
    factors
        How many times as long each step takes; used in turn.
    planned_at
        When the snapshot of the plan in force was taken, s.
    """
    counters = state.counters[0]
    at = (counters.oldest + counters.in_flight) % rule.depth
    begin = max(counters.now, counters.device_free)
    if tokens:
        seconds = (
            costs.base
            + costs.per_prefill_token * counters.prefill_tokens
            + costs.by_sequences[counters.sequences]
            + costs.per_context_token * counters.context_tokens
        )
        if counters.prefill_tokens:
            seconds += costs.prompt_step
        seconds *= factors[counters.steps % len(factors)]
        counters.device_free = begin + seconds
        kind = 1 if counters.prefill_tokens else 0
        step = state.kept[kind, state.seen[kind] % state.kept.shape[1]]
        step[0], step[1] = counters.prefill_tokens, counters.sequences
        step[2], step[3] = counters.context_tokens, seconds
        state.seen[kind] += 1
        counters.steps += 1
        age = counters.now - planned_at
        counters.age_total += age
        counters.age_most = max(counters.age_most, age)
    state.batch_size[at] = counters.served
    state.batch_end[at] = counters.device_free if tokens else begin
    counters.in_flight += 1


@njit(cache=True)
def land(rule: Rules, state: State, gaps: IntArray) -> None:
    """Wait for the oldest batch in flight, and take its output."""
    counters = state.counters[0]
    counters.now = max(counters.now, state.batch_end[counters.oldest])
    deliver(rule, state, gaps, counters.now)


@njit(cache=True)
def cruise(
    rule: Rules, state: State, live: LiveArray, costs: Costs, factors: FloatArray, gaps: IntArray,
    slots: int, budget: int, most: int, planned_at: float, until: float, predicts: bool,
) -> bool:  # fmt: skip
    """Go on, output by output and step by step, until somebody has to look.

    The ring of batches is full. Nobody has to look while nobody comes, goes, gets or loses a
    slot, no plan is due, no length is to be predicted again, and nothing is learnt from steps.

    Parameters
    ----------
    slots, budget
        Of the plan in force.
    most
        Tokens that a step of the engine may compute.
    until
        Seconds: the next arrival, or when the planner wants to be asked again.
    predicts
        Whether the planner wants to be asked when a length is to be predicted again.

    Returns
    -------
    Whether it ended with a batch; if not, with an output.
    """
    counters = state.counters[0]
    while True:
        land(rule, state, gaps)
        if counters.ended:
            return False  # the planner hears of that before what was unsettled is settled
        settle(state, live, counters.now)
        left = len(factors) - counters.steps % len(factors)
        if (
            counters.now >= until
            or left == len(factors)
            or (predicts and _is_anyone_due(state, live))
        ):
            return False
        tokens = budget
        if rule.planned:
            tokens = follow(rule, state, live, _NOBODY_LOSES, False, budget, most)
        tokens = schedule(rule, state, live, slots, tokens)
        launch(rule, state, tokens, costs, factors, planned_at)
        learns = tokens and state.seen.sum() % REFIT == 0
        if counters.admitted or counters.preempted or not tokens or learns:
            return True


@njit(cache=True)
def _is_anyone_due(state: State, live: LiveArray) -> bool:
    for at in range(state.counters[0].running):
        request = live[state.running[at]]
        if request.produced >= request.predict_at:
            return True
    return False
