"""Who comes next: new sequences into the queue, and both queues into the plan's order."""

from numba import njit

from slosched.core.types import IntArray, LiveArray
from slosched.sim import blocks, waiting
from slosched.sim.progress import wait
from slosched.sim.schedule import preempt
from slosched.sim.state import WAITING, Rules, State


@njit(cache=True)
def enter(rule: Rules, state: State, live: LiveArray, row: int) -> None:
    """Let a new sequence, whose row is written, wait."""
    seq, counters = state.seqs[row], state.counters[0]
    seq.status = WAITING
    seq.found = blocks.found(rule, state, row) * rule.block_size
    wait(state, live, row, seq.found)
    if rule.planned:  # its rank is not known yet
        state.fresh[counters.fresh] = row
        counters.fresh += 1
        return
    counters.at_back += 1
    state.keys[row] = -seq.priority if rule.by_priority else counters.at_back
    waiting.push(state, row)


@njit(cache=True)
def follow(
    rule: Rules, state: State, live: LiveArray, victims: IntArray, new: bool, tokens: int, most: int
) -> int:
    """Bring running and waiting sequences into the plan's order, as our scheduler class does.

    Parameters
    ----------
    victims
        Rows of running sequences that the plan takes the slots of.
    new
        Whether there is a plan that this has not followed yet.
    tokens, most
        Most tokens of a step, by the plan and by the engine.

    Returns
    -------
    How many tokens the step may have: those that decode get theirs, and what prompts there are
    without them get all.
    """
    counters = state.counters[0]
    for row in victims:
        for at in range(counters.running):
            if state.running[at] == row:
                preempt(rule, state, live, at)
                break
    decoding = _sort_running(state, live)
    for at in range(counters.fresh):
        state.keys[state.fresh[at]] = live[state.fresh[at]].rank
        waiting.push(state, state.fresh[at])
    counters.fresh = 0
    if new:
        for at in range(counters.waiting):
            state.keys[state.waiting[at]] = live[state.waiting[at]].rank
        waiting.heapify(state)
    return min(max(tokens, decoding), most) if decoding else most


@njit(cache=True)
def _sort_running(state: State, live: LiveArray) -> int:
    """Put those that decode first, each kind by rank; return how many they are.

    By insertion: the list is nearly in order, and those of equal rank stay as they are.
    """
    decoding = 0
    running, seqs = state.running, state.seqs
    for at in range(state.counters[0].running):
        row = running[at]
        decoding += not seqs[row].prefilling
        while at and _goes_first(state, live, row, running[at - 1]):
            running[at] = running[at - 1]
            at -= 1  # noqa: PLW2901 - the place moves to the front
        running[at] = row
    return decoding


@njit(cache=True)
def _goes_first(state: State, live: LiveArray, one: int, other: int) -> bool:
    a, b = state.seqs[one], state.seqs[other]
    begins, goes_on = live[one].context < a.goal, live[other].context < b.goal
    return live[one].rank < live[other].rank if begins == goes_on else goes_on
