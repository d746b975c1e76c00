"""The rollout: an order's first-token and finish times, in closed form between events.

Between an admission and the next finish the batch is constant, so the time of k decode steps is
a quadratic in k and a rollout costs next to nothing for each token. `rollout_reference` is the
same engine step by step in plain Python.

What the engine does until it looks at the k-th waiting request is the same for all orders that
begin alike. So `replay` can leave checkpoints on its way, and begin at one.
"""

from typing import NamedTuple

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import (
    FLOOR,
    IN_FORCE,
    MISSED,
    NOW,
    ON_TRIAL,
    OVERDUE,
    SLOPE,
    STRIDE,
    Checkpoints,
    load,
    save,
)  # fmt: skip
from slosched_solvers.checkpoints import ON_TIME as MARK_ON_TIME
from slosched_solvers.checkpoints import PLACE as MARK_PLACE
from slosched_solvers.cost import Price, combine
from slosched_solvers.kernel import kernel
from slosched_solvers.requests import (
    AGE,
    BEGUN,
    CONTEXT,
    E2E,
    FINISH_BY,
    FIRST_BY,
    FITS,
    LATEST,
    ON_TIME,
    PACE,
    PLACE,
    PREFILL,
    REMAINING,
    SERVICE,
    TTFT,
    WEIGHT,
    Requests,
)  # fmt: skip
from slosched_solvers.slots import (
    BLOCK,
    EMPTY,
    NEVER,
    Slots,
    last_admitted,
    look_for_soonest,
    put_back,
)

ABSENT = -1  # the position of a row that the order leaves out


class Trial(NamedTuple):
    """How an order relates to the one in force, and when not to run it to its end."""

    shared: int  # the first waiting place that differs; checkpoints are saved as far as there
    limit: float  # a cost beyond it is infinite; infinity under `g`, where costs fall as well
    allowed: float  # so much more than the order in force may an order cost at one of its marks
    promised: float  # and so much more, as some come to be on time by it
    given: float  # but so much less at first, as some come to be late by it
    until: float  # s: by then one of these is among the missed


# An order that is run to its end in any case.
ALONE = Trial(NEVER, limit=np.inf, allowed=np.inf, promised=0.0, given=0.0, until=0.0)


@kernel
def replay(
    requests: Requests,
    s: int,
    order: IntArray,
    position: IntArray,
    settled: int,
    begin: int,
    trial: Trial,
    price: Price,
    first: FloatArray,
    finish: FloatArray,
    slots: Slots,
    saved: Checkpoints,
) -> float:
    """Run an order through the engine, and price it.

    Running requests keep their slots, in the order's sequence; the others are admitted in
    sequence while there is a slot, token budget, and KV for the whole prompt, whether it is
    computed or found in the cache. When the KV cache is full, the request admitted last is
    preempted, and computes its context again.

    Parameters
    ----------
    requests
        From `requests.requests`; the order is one of its rows.
    s
        Scenario of lengths.
    order, position
        Rows, running ones first; and the place of each row in it, or ABSENT.
    settled
        How many are running.
    begin
        Checkpoint to begin at, or FROM_SCRATCH.
    trial
        Behind at a mark, and not ahead by the clock, an order is given up too: a guess that the
        rest will not make up for it.
    first, finish
        Shape (n,), written as they come after the checkpoint: seconds from now to each first
        token (0 if it was out) and to the last one.
    slots
        From `make_slots`: one for each of the engine's and each running request, or n.

    Returns
    -------
    Cost of the order, as `slosched.core.objective.cost` has it; lower is better. Infinity if it
    was given up.
    """
    base, per_prefill, per_sequence, per_context = requests.latency
    most, token_budget, free, lost = requests.limits
    n = len(order)
    # Arrays by name: numba counts references to all arrays of a tuple that is passed on.
    row, due, soonest, admitted, left = (
        slots.row, slots.due, slots.soonest, slots.admitted, slots.left,
    )  # fmt: skip
    prefill, context, counted, first_at = slots.prefill, slots.context, slots.counted, slots.first
    vacant_slots, prompts, returned = slots.vacant, slots.prompts, slots.returned
    counts, times, by_latest = requests.counts[s], requests.times[s], requests.by_latest[s]
    kind, per_latency, per_slope = price
    marks = saved.marks[s]
    shared, limit, allowed, promised, given, until = trial
    size = 0
    head = settled  # order[head:] was never admitted
    back = 0  # of slots.returned: preempted for KV, and waits again
    queued = 0  # of slots.prompts
    decoding = decoding_context = steps = admissions = on_time = 0
    now = missed = slope = overdue = latency = 0.0
    # A floor under the cost to come: who has to finish, how old they are, who has to begin.
    owed, owed_ages, owed_service = 0, 0.0, 0.0
    lost_hope = 0  # of by_latest: too late to begin now, and counted as missed unless begun
    looked_at = EMPTY  # the last place that was looked at, and did not fit

    if begin >= 0:
        vacant, queued = load(saved, s, begin, slots)
        size = len(row) - vacant
        (head, decoding, decoding_context, steps, free, admissions, on_time, owed, lost_hope) = (
            saved.counters[s, begin]
        )
        now, missed, slope, overdue, latency, owed_ages, owed_service = saved.sums[s, begin]
        head += settled
    else:
        row[:], due[:] = EMPTY, NEVER
        for k in range(n):
            i = order[k]
            if counts[i, FITS]:
                owed += 1
                owed_ages += times[i, AGE]
                owed_service += 0.0 if k < settled else times[i, SERVICE]
        for c in range(settled):
            i = order[c]
            row[c], admitted[c], left[c] = i, c, counts[i, REMAINING]
            prefill[c], context[c] = counts[i, PREFILL], counts[i, CONTEXT]
            counted[c] = 0
            first_at[c] = 0.0 if times[i, BEGUN] < np.inf else np.inf
            free -= counts[i, CONTEXT] + counts[i, PREFILL] + lost
            if counts[i, PREFILL] == 0:
                due[c] = counts[i, REMAINING]
                decoding += 1
                decoding_context += counts[i, CONTEXT]
            else:
                prompts[queued] = c
                queued += 1
        size = admissions = settled
        vacant = 0
        for c in range(len(row) - 1, settled - 1, -1):
            vacant_slots[vacant] = c
            vacant += 1
    next_due = look_for_soonest(due, soonest)
    marks[ON_TRIAL, begin + 1 :, MARK_PLACE] = -1.0
    next_stop = settled + (begin + 1) * STRIDE if marks.shape[1] else n

    while size + back + n - head > 0:
        # Whoever waits and is too late to begin is missed by now.
        while lost_hope < len(by_latest):
            i = by_latest[lost_hope]
            if times[i, LATEST] >= now:
                break
            lost_hope += 1
            if position[i] >= head:
                missed += times[i, WEIGHT]
        if next_stop <= head < n and looked_at != head:
            at, place = (head - settled) // STRIDE, head - settled
            next_stop = settled + (at + 1) * STRIDE
            if place <= shared and at % saved.every == 0 and not saved.filled[s, at]:
                save(
                    saved, s, at, slots,
                    (place, decoding, decoding_context, steps, free, admissions, on_time, owed,
                     lost_hope),
                    (now, missed, slope, overdue, latency, owed_ages, owed_service),
                )  # fmt: skip
            floor = latency + owed_ages + owed * now + owed_service
            mark, past = marks[ON_TRIAL, at], marks[IN_FORCE, at]
            mark[MARK_PLACE], mark[NOW], mark[MISSED], mark[SLOPE] = place, now, missed, slope
            mark[OVERDUE], mark[FLOOR], mark[MARK_ON_TIME] = overdue, floor, on_time
            if place > shared and past[MARK_PLACE] == place and now >= past[NOW]:
                here = combine(
                    kind, per_latency, per_slope, n, missed, slope, overdue, floor, on_time
                )
                there = combine(
                    kind, per_latency, per_slope, n, past[MISSED], past[SLOPE], past[OVERDUE],
                    past[FLOOR], past[MARK_ON_TIME],
                )  # fmt: skip
                if here - there > allowed + promised - (given if now < until else 0.0):
                    return np.inf
        # 1. KV for one token of each decoding request, or the last one admitted goes.
        preempted = False
        while free < decoding:
            c = last_admitted(slots)
            i = row[c]
            held = context[c]
            free += held + prefill[c] + lost
            unread = 0 if due[c] == NEVER else 1  # its newest token
            if due[c] == NEVER:
                queued -= 1  # the last one admitted is the last prompt
            else:
                grown = left[c] - (due[c] - steps)
                left[c] -= grown
                held += grown
                free += grown
                decoding -= 1
                decoding_context -= held
            row[c], due[c] = EMPTY, NEVER
            vacant_slots[vacant] = c
            vacant += 1
            size -= 1
            if size > 0:
                put_back(slots, back, c, i, held + unread)
                back += 1
            elif counted[c] == 0:  # alone and too large: it never fits
                missed += times[i, WEIGHT]
            preempted = True
            next_stop = n  # who waits again is in no checkpoint
        if preempted:
            next_due = look_for_soonest(due, soonest)

        # 2. Prefill within the token budget: the batch first, then whom there is room for.
        budget = token_budget - decoding
        chunked = 0
        for k in range(queued):
            if budget <= 0:
                break
            c = prompts[k]
            chunk = min(prefill[c], budget)
            prefill[c] -= chunk
            context[c] += chunk
            budget -= chunk
            chunked += chunk
        while back + n - head > 0 and size < most and budget > 0 and not preempted:
            returns = back > 0
            i = returned[0, back - 1] if returns else order[head]
            prompt = returned[2, back - 1] if returns else counts[i, PREFILL]
            cached = 0 if returns else counts[i, CONTEXT]
            fits = cached + prompt + lost <= free - decoding
            if not fits and size > 0:
                looked_at = head
                break
            hopeless = counts[i, PLACE] < lost_hope
            if returns:
                back -= 1
                hopeless = returned[3, back] > 0
            else:
                head += 1
                if counts[i, FITS]:
                    owed_service -= times[i, SERVICE]
            if not fits:  # the whole cache is free, and too small
                missed += 0.0 if hopeless else times[i, WEIGHT]
                continue
            vacant -= 1
            c = vacant_slots[vacant]
            free -= cached + prompt + lost
            chunk = min(prompt, budget)
            budget -= chunk
            chunked += chunk
            row[c], admitted[c] = i, admissions
            prefill[c], context[c] = prompt - chunk, cached + chunk
            counted[c] = 1 if hopeless else 0
            if returns:
                left[c], first_at[c] = returned[1, back], slots.returned_first[back]
            else:
                left[c] = counts[i, REMAINING]
                first_at[c] = 0.0 if times[i, BEGUN] < np.inf else np.inf
            prompts[queued] = c
            queued += 1
            admissions += 1
            size += 1
        if size == 0:
            continue

        # 3. Let time pass: one step if it prefills, else until a finish or a full KV cache.
        k = 1
        if chunked == 0 and not preempted:
            k = next_due - steps
            if k * decoding > free:
                k = free // decoding
        step = base + per_prefill * chunked + per_sequence * decoding
        now += k * (step + per_context * decoding_context)
        now += per_context * decoding * (k * (k - 1) / 2)
        steps += k
        decoding_context += k * decoding
        free -= k * decoding

        # 4. First tokens: whose prompt is computed has one.
        spoke = 0
        while spoke < queued and prefill[prompts[spoke]] == 0:
            c = prompts[spoke]
            spoke += 1
            i = row[c]
            first_at[c] = min(first_at[c], now)
            first[i] = first_at[c]
            if counted[c] == 0 and first_at[c] > times[i, FIRST_BY]:
                counted[c] = 1
                missed += times[i, WEIGHT]
            left[c] -= 1
            due[c] = steps + left[c]
            soonest[c // BLOCK] = min(soonest[c // BLOCK], due[c])
            next_due = min(next_due, due[c])
            decoding += 1
            decoding_context += context[c]
        if spoke > 0:
            queued -= spoke
            for k in range(queued):
                prompts[k] = prompts[k + spoke]

        # 5. Finishes.
        if steps == next_due:
            next_due = NEVER
            for block in range(len(soonest)):
                while soonest[block] == steps:
                    # Without branches, as nobody could foresee them: who is done, who is next.
                    soon, c = NEVER, 0
                    for other in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
                        c = other if due[other] == steps else c
                    i = row[c]
                    row[c], due[c] = EMPTY, NEVER
                    for other in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
                        soon = min(soon, due[other])
                    soonest[block] = soon
                    finish[i] = now
                    grown = context[c] + left[c]
                    decoding -= 1
                    decoding_context -= grown
                    free += grown + lost
                    vacant_slots[vacant] = c
                    vacant += 1
                    size -= 1
                    latency += times[i, AGE] + now
                    if counts[i, FITS]:
                        owed -= 1
                        owed_ages -= times[i, AGE]
                    begun = min(times[i, BEGUN], first_at[c])
                    if (
                        begun > times[i, FIRST_BY]
                        or now > times[i, FINISH_BY]
                        or now - begun > times[i, PACE]
                    ):
                        at_most = times[i, PACE] / ON_TIME
                        late = max(
                            (times[i, AGE] + begun) / times[i, TTFT],
                            (now - begun) / at_most,
                            (times[i, AGE] + now) / times[i, E2E],
                        )
                        slope += times[i, WEIGHT] * (late - 1.0) / late
                        overdue += times[i, WEIGHT] * max(
                            times[i, AGE] + begun - times[i, TTFT],
                            now - begun - at_most,
                            times[i, AGE] + now - times[i, E2E],
                        )
                        if counted[c] == 0:
                            missed += times[i, WEIGHT]
                    else:
                        on_time += 1
                next_due = min(next_due, soonest[block])
            floor = latency + owed_ages + owed * now + owed_service
            if (
                combine(kind, per_latency, per_slope, n, missed, slope, overdue, floor, on_time)
                > limit
            ):
                return np.inf
    return combine(kind, per_latency, per_slope, n, missed, slope, overdue, latency, on_time)
