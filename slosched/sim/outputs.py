"""What a step's output changes: vLLM 0.32's `update_from_output()`, over arrays."""

import numpy as np
from numba import njit

from slosched.core.types import IntArray, LiveArray
from slosched.sim import blocks, waiting
from slosched.sim.histogram import bin_of
from slosched.sim.progress import place, wait
from slosched.sim.state import GONE, PREEMPTED, RUNNING, Rules, State


@njit(cache=True)
def deliver(rule: Rules, state: State, gaps: IntArray, now: float) -> None:
    """Take the output of the oldest batch in flight, at the end of it.

    Parameters
    ----------
    gaps
        Histogram of seconds between two tokens of a sequence; added to.
    """
    counters = state.counters[0]
    batch = state.batch[counters.oldest]
    for at in range(state.batch_size[counters.oldest]):
        one = batch[at]
        seq = state.seqs[one.row]
        if seq.serial != one.serial or seq.status == GONE:
            continue  # it ended while this step, one too many, was in flight
        seq.in_flight -= one.tokens
        is_stale = seq.stale > 0
        if is_stale:
            seq.stale -= one.tokens
        if not one.speaks:
            continue
        seq.tokens += 1
        _note(state, one.row, gaps, now)
        if rule.caches_outputs:
            seq.placeholders -= not is_stale
            if seq.status == RUNNING:
                blocks.publish(rule, state, one.row, seq.computed - seq.placeholders)
        if seq.tokens - seq.prompt >= seq.length:
            _end(state, one.row)
    counters.oldest = (counters.oldest + 1) % rule.depth
    counters.in_flight -= 1


@njit(cache=True)
def _note(state: State, row: int, gaps: IntArray, now: float) -> None:
    """Write down that a sequence spoke."""
    seq = state.seqs[row]
    if np.isnan(seq.first_token):
        seq.first_token = now
    else:
        gap, counters = now - seq.last_token, state.counters[0]
        gaps[bin_of(gap)] += 1
        counters.gap_total += gap
        counters.gap_squares += gap * gap
    seq.last_token = now


@njit(cache=True)
def _end(state: State, row: int) -> None:
    counters = state.counters[0]
    let_go(state, row)
    state.ended[counters.ended] = row
    counters.ended += 1


@njit(cache=True)
def let_go(state: State, row: int) -> None:
    """Take a sequence out of whatever it is in."""
    seq, counters = state.seqs[row], state.counters[0]
    if seq.status == RUNNING:
        blocks.release(state, row)
        state.free_slots[counters.free_slots] = seq.slot
        counters.free_slots += 1
        kept = 0
        for at in range(counters.running):
            state.running[kept] = state.running[at]
            kept += state.running[at] != row
        counters.running = kept
    elif not _take_out_fresh(state, row):
        waiting.remove(state, row)
    seq.status = GONE


@njit(cache=True)
def _take_out_fresh(state: State, row: int) -> bool:
    """Take out a sequence that came since the last step; False if it did not."""
    counters = state.counters[0]
    for at in range(counters.fresh):
        if state.fresh[at] == row:
            counters.fresh -= 1
            state.fresh[at : counters.fresh] = state.fresh[at + 1 : counters.fresh + 1]
            return True
    return False


@njit(cache=True)
def settle(state: State, live: LiveArray, now: float) -> None:
    """Write into the planner's table what outputs said of who was waited for."""
    counters = state.counters[0]
    kept = 0
    for at in range(counters.unsettled):
        row = state.unsettled[at]
        seq = state.seqs[row]
        if not seq.unsettled or seq.status == GONE:
            seq.unsettled = False
            continue
        said = seq.tokens > seq.prompt
        if said and np.isnan(live[row].first_token):
            live[row].first_token = now
        if seq.status == PREEMPTED:
            wait(state, live, row, live[row].context)
            settled = seq.stale == 0
        else:
            place(state, live, row, seq.computed)
            settled = said
        seq.unsettled = not settled
        if not settled:
            state.unsettled[kept] = row
            kept += 1
    counters.unsettled = kept
