"""What one step computes: vLLM 0.32's `schedule()`, over arrays.

Three parts, as there: running sequences in the order of their list; waiting ones from the head of
the queue; and what the step, once it is over, will have done to both. `tests/vllm` holds each
step's batch against that of the real class.
"""

from numba import njit

from slosched.core.types import LiveArray
from slosched.sim import blocks, waiting
from slosched.sim.progress import place, wait
from slosched.sim.state import PREEMPTED, RUNNING, Rules, State


@njit(cache=True)
def schedule(rule: Rules, state: State, live: LiveArray, slots: int, budget: int) -> int:
    """Make the next batch of the ring.

    Parameters
    ----------
    live
        The planner's table; progress is written into it.
    slots, budget
        Sequences that may run, and tokens that the step may compute.

    Returns
    -------
    The tokens that the step computes.
    """
    counters = state.counters[0]
    batch = state.batch[(counters.oldest + counters.in_flight) % rule.depth]
    counters.served = counters.admitted = 0
    before, offered = counters.preempted, budget

    # 1. Who runs, in order.
    budget = _serve_running(rule, state, live, batch, budget)

    # 2. Who waits, unless KV has run out already.
    if counters.preempted == before:
        budget = _admit(rule, state, batch, slots, budget)

    # 3. How far that brings them.
    _advance(rule, state, live, batch)
    return offered - budget


@njit(cache=True)
def _serve_running(
    rule: Rules, state: State, live: LiveArray, batch: LiveArray, budget: int
) -> int:
    counters = state.counters[0]
    at = 0
    while at < counters.running and budget > 0:
        row = state.running[at]
        seq = state.seqs[row]
        tokens = min(seq.tokens + seq.placeholders - seq.computed, budget)
        if tokens == 0 or _surely_over(state, row):
            at += 1
            continue
        while not blocks.take(rule, state, row, seq.computed + tokens):
            # Somebody has to go: the least urgent, or the last.
            victim_at = _victim(state) if rule.by_priority else counters.running - 1
            victim = state.running[victim_at]
            at -= victim_at < at
            budget += _leave_batch(state, batch, victim)
            preempt(rule, state, live, victim_at)
            if victim == row:
                return budget
        blocks.publish(rule, state, row, min(seq.computed + tokens, seq.tokens))
        _join_batch(state, batch, row, tokens)
        budget -= tokens
        at += 1
    return budget


@njit(cache=True)
def _surely_over(state: State, row: int) -> bool:
    """Whether the step in flight brings the last token that the client allows."""
    seq = state.seqs[row]
    sure = seq.computed + 2 - seq.placeholders
    return seq.placeholders > 0 and sure >= seq.prompt + seq.cap


@njit(cache=True)
def _victim(state: State) -> int:
    """Place in the running list of who is least urgent, and came last of these."""
    worst = 0
    for at in range(1, state.counters[0].running):
        a, b = state.seqs[state.running[at]], state.seqs[state.running[worst]]
        if a.priority < b.priority or (a.priority == b.priority and a.arrival > b.arrival):
            worst = at
    return worst


@njit(cache=True)
def preempt(rule: Rules, state: State, live: LiveArray, at: int) -> None:
    """Take slot and KV of the sequence at a place of the running list; it waits again."""
    counters = state.counters[0]
    row = state.running[at]
    counters.running -= 1
    state.running[at : counters.running] = state.running[at + 1 : counters.running + 1]
    seq = state.seqs[row]
    blocks.release(state, row)
    state.free_slots[counters.free_slots] = seq.slot
    counters.free_slots += 1
    seq.status, seq.computed = PREEMPTED, 0
    seq.stale, seq.placeholders = seq.in_flight, 0
    _put_in_front(rule, state, row)
    state.preempted[counters.preempted] = row
    counters.preempted += 1
    counters.preemptions += 1
    seq.found = blocks.found(rule, state, row) * rule.block_size
    wait(state, live, row, seq.found)
    unsettle(state, row)


@njit(cache=True)
def unsettle(state: State, row: int) -> None:
    """Note that an output in flight will change a sequence's row of the table."""
    seq, counters = state.seqs[row], state.counters[0]
    if not seq.unsettled:
        seq.unsettled = True
        state.unsettled[counters.unsettled] = row
        counters.unsettled += 1


@njit(cache=True)
def _put_in_front(rule: Rules, state: State, row: int) -> None:
    """Queue a sequence before all others; by priority, where it belongs."""
    counters = state.counters[0]
    if not rule.by_priority:
        counters.in_front += 1
        state.keys[row] = -(1 << 62) - counters.in_front
    waiting.push(state, row)


@njit(cache=True)
def _admit(rule: Rules, state: State, batch: LiveArray, slots: int, budget: int) -> int:
    counters = state.counters[0]
    skipped = 0
    while budget > 0 and counters.waiting and counters.running < slots:
        row = state.waiting[0]
        seq = state.seqs[row]
        if seq.stale > 0:  # its own output of before it was preempted is yet to come
            state.skipped[skipped] = waiting.pop(state)
            skipped += 1
            continue
        # The whole sequence must fit, though the step takes but a part of it.
        own = blocks.found(rule, state, row)
        spare = rule.watermark if counters.running else 0
        if blocks.cost(rule, state, row, own) + spare > counters.free:
            break
        waiting.pop(state)
        counters.free_slots -= 1
        seq.slot = state.free_slots[counters.free_slots]
        blocks.share(rule, state, row, own)
        seq.computed = own * rule.block_size
        tokens = min(seq.tokens - seq.computed, budget)
        blocks.take(rule, state, row, seq.computed + tokens)
        blocks.publish(rule, state, row, seq.computed + tokens)
        seq.status = RUNNING
        state.running[counters.running] = row
        counters.running += 1
        state.admitted[counters.admitted] = row
        counters.admitted += 1
        _join_batch(state, batch, row, tokens)
        budget -= tokens
    for at in range(skipped - 1, -1, -1):
        _put_in_front(rule, state, state.skipped[at])
    return budget


@njit(cache=True)
def _join_batch(state: State, batch: LiveArray, row: int, tokens: int) -> None:
    counters = state.counters[0]
    one = batch[counters.served]
    one.row, one.serial, one.tokens = row, state.seqs[row].serial, tokens
    counters.served += 1


@njit(cache=True)
def _leave_batch(state: State, batch: LiveArray, row: int) -> int:
    """Take a sequence out of the batch, if it is in it; return the tokens that it had there."""
    counters = state.counters[0]
    for at in range(counters.served):
        if batch[at].row == row:
            tokens = batch[at].tokens
            counters.served -= 1
            for behind in range(at, counters.served):
                batch[behind] = batch[behind + 1]
            return tokens
    return 0


@njit(cache=True)
def _advance(rule: Rules, state: State, live: LiveArray, batch: LiveArray) -> None:
    counters = state.counters[0]
    for at in range(counters.admitted):
        row = state.admitted[at]
        live[row].context = state.seqs[row].computed  # what it found
        unsettle(state, row)
    counters.prefill_tokens = counters.sequences = counters.context_tokens = 0
    for at in range(counters.served):
        one = batch[at]
        seq = state.seqs[one.row]
        if seq.computed < seq.goal:
            counters.prefill_tokens += one.tokens
        else:
            counters.sequences += 1
            counters.context_tokens += seq.computed
        seq.computed += one.tokens
        seq.in_flight += one.tokens
        seq.prefilling = seq.computed < seq.tokens + seq.placeholders
        one.speaks = not seq.prefilling
        if one.speaks and rule.caches_outputs:
            seq.placeholders += 1
        place(state, live, one.row, seq.computed)
