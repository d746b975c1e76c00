"""The rollout: an order's first-token and finish times, in closed form between events.

Between an admission and the next finish the batch is constant, so the time of k decode steps is
a quadratic in k and a rollout costs next to nothing for each token. `rollout_reference` is the
same engine step by step in plain Python.

What the engine does until it looks at the k-th waiting request is the same for all orders that
begin alike. So `replay` can leave checkpoints on its way, and begin at one.
"""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import STRIDE, Checkpoints, load, save
from slosched_solvers.cost import Price, combine
from slosched_solvers.deadlines import ON_TIME, Deadlines
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import kernel
from slosched_solvers.slots import BLOCK, EMPTY, NEVER, Slots

NO_LIMIT = np.inf


@kernel
def replay(
    instance: Instance,
    known: Deadlines,
    s: int,
    order: IntArray,
    position: IntArray,
    settled: int,
    begin: int,
    record: bool,
    limit: float,
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
    known
        `deadlines(instance)`.
    s
        Scenario of lengths.
    order, position
        Permutation of the instance's rows, running ones first; and its inverse.
    settled
        How many are running.
    begin
        Checkpoint in force to begin at, or FROM_SCRATCH. Every request that was looked at before
        it must be where it was when it was saved.
    record
        Save fresh checkpoints from there on.
    limit
        Give up, and return infinity, once the cost must exceed this; infinity under `g`, whose
        cost falls with every request on time.
    first, finish
        Shape (n,), written as they come after the checkpoint: seconds from now to each first
        token (0 if it was out) and to the last one.
    slots
        From `make_slots`: one for each of the engine's and each running request, or n.

    Returns
    -------
    Cost of the order, as `slosched.core.objective.cost` has it; lower is better.
    """
    base, per_prefill, per_sequence, per_context = instance.latency
    most, token_budget, free, lost = instance.limits
    n = len(order)
    # Arrays by name: numba counts references to all arrays of a tuple that is passed on.
    row, due, soonest, admitted, left = (
        slots.row, slots.due, slots.soonest, slots.admitted, slots.left,
    )  # fmt: skip
    prefill, context, counted, first_at = slots.prefill, slots.context, slots.counted, slots.first
    vacant_slots, prompts, returned = slots.vacant, slots.prompts, slots.returned
    age, weight, first_ago = instance.age, instance.weight, instance.first_ago
    ttft, e2e = instance.ttft, instance.e2e
    whole_prefill, cached_context = instance.prefill, instance.context
    remaining, fits_alone = instance.remaining[s], known.fits_alone[s]
    first_by, finish_by, pace = known.first, known.finish, known.pace[s]
    service, begin_by, by_latest, place = (
        known.service[s], known.latest[s], known.by_latest[s], known.place[s],
    )  # fmt: skip
    kind, per_latency, per_slope = price
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
            saved.counters[s, saved.current[s, begin], begin]
        )
        now, missed, slope, overdue, latency, owed_ages, owed_service, _ = saved.sums[
            s, saved.current[s, begin], begin
        ]
        head += settled
    else:
        row[:], due[:] = EMPTY, NEVER
        for i in range(n):
            if fits_alone[i]:
                owed += 1
                owed_ages += age[i]
                owed_service += 0.0 if instance.running[i] else service[i]
        for c in range(settled):
            i = order[c]
            row[c], admitted[c], left[c] = i, c, remaining[i]
            prefill[c], context[c] = whole_prefill[i], cached_context[i]
            counted[c] = 0
            first_at[c] = 0.0 if first_ago[i] == first_ago[i] else np.inf
            free -= cached_context[i] + whole_prefill[i] + lost
            if whole_prefill[i] == 0:
                due[c] = remaining[i]
                decoding += 1
                decoding_context += cached_context[i]
            else:
                prompts[queued] = c
                queued += 1
        size = admissions = settled
        vacant = 0
        for c in range(len(row) - 1, settled - 1, -1):
            vacant_slots[vacant] = c
            vacant += 1
    next_due = NEVER
    for block in range(len(soonest)):
        soonest[block] = NEVER
        for c in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
            soonest[block] = min(soonest[block], due[c])
        next_due = min(next_due, soonest[block])
    if record:
        saved.fresh[s, begin + 1 :] = False
    next_save = settled + (begin + 1) * STRIDE if record else n

    while size + back + n - head > 0:
        if next_save <= head < n and looked_at != head:
            at = (head - settled) // STRIDE
            next_save = settled + (at + 1) * STRIDE
            save(
                saved, s, at, slots,
                (head - settled, decoding, decoding_context, steps, free, admissions, on_time,
                 owed, lost_hope),
                (now, missed, slope, overdue, latency, owed_ages, owed_service, 0.0),
            )  # fmt: skip
        # 1. KV for one token of each decoding request, or the last one admitted goes.
        preempted = False
        while free < decoding:
            c = last_admitted(slots)
            i = row[c]
            held = context[c]
            free += held + prefill[c] + lost
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
                put_back(slots, back, c, i, held)
                back += 1
            elif counted[c] == 0:  # alone and too large: it never fits
                missed += weight[i]
            preempted = True
            next_save = n  # who waits again is in no checkpoint
        if preempted:
            next_due = NEVER
            for block in range(len(soonest)):
                soonest[block] = NEVER
                for c in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
                    soonest[block] = min(soonest[block], due[c])
                next_due = min(next_due, soonest[block])

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
            prompt = returned[2, back - 1] if returns else whole_prefill[i]
            cached = 0 if returns else cached_context[i]
            fits = cached + prompt + lost <= free
            if not fits and size > 0:
                looked_at = head
                break
            hopeless = place[i] < lost_hope
            if returns:
                back -= 1
                hopeless = returned[3, back] > 0
            else:
                head += 1
                if fits_alone[i]:
                    owed_service -= service[i]
            if not fits:  # the whole cache is free, and too small
                missed += 0.0 if hopeless else weight[i]
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
                left[c] = remaining[i]
                first_at[c] = 0.0 if first_ago[i] == first_ago[i] else np.inf
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
            first_at[c] = min(first_at[c], now)
            first[row[c]] = first_at[c]
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
                if soonest[block] == steps:
                    soonest[block] = NEVER
                    for c in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
                        if due[c] != steps:
                            soonest[block] = min(soonest[block], due[c])
                            continue
                        i = row[c]
                        finish[i] = now
                        grown = context[c] + left[c]
                        decoding -= 1
                        decoding_context -= grown
                        free += grown + lost
                        row[c], due[c] = EMPTY, NEVER
                        vacant_slots[vacant] = c
                        vacant += 1
                        size -= 1
                        latency += age[i] + now
                        if fits_alone[i]:
                            owed -= 1
                            owed_ages -= age[i]
                        begun = first_at[c]
                        if first_ago[i] == first_ago[i]:
                            begun = -first_ago[i]
                        if begun > first_by[i] or now > finish_by[i] or now - begun > pace[i]:
                            at_most = pace[i] / ON_TIME
                            late = max(
                                (age[i] + begun) / ttft[i],
                                (now - begun) / at_most,
                                (age[i] + now) / e2e[i],
                            )
                            slope += weight[i] * (late - 1.0) / late
                            overdue += weight[i] * max(
                                age[i] + begun - ttft[i],
                                now - begun - at_most,
                                age[i] + now - e2e[i],
                            )
                            if counted[c] == 0:
                                missed += weight[i]
                        else:
                            on_time += 1
                next_due = min(next_due, soonest[block])
            # Whoever waits and is too late to begin is missed by now.
            while lost_hope < len(by_latest):
                i = by_latest[lost_hope]
                if begin_by[i] >= now:
                    break
                lost_hope += 1
                if position[i] >= head:
                    missed += weight[i]
            floor = latency + owed_ages + owed * now + owed_service
            if (
                combine(kind, per_latency, per_slope, n, missed, slope, overdue, floor, on_time)
                > limit
            ):
                return np.inf
    return combine(kind, per_latency, per_slope, n, missed, slope, overdue, latency, on_time)


@kernel
def last_admitted(slots: Slots) -> int:
    """Return the slot that was taken last."""
    last = EMPTY
    for c in range(len(slots.row)):
        newer = slots.row[c] != EMPTY and (
            last == EMPTY or slots.admitted[c] > slots.admitted[last]
        )
        last = c if newer else last
    return last


@kernel
def put_back(slots: Slots, back: int, c: int, i: int, held: int) -> None:
    """Let a preempted request wait again, for its whole context."""
    slots.returned[0, back], slots.returned[1, back] = i, slots.left[c]
    slots.returned[2, back] = slots.prefill[c] + held
    slots.returned[3, back] = slots.counted[c]
    slots.returned_first[back] = slots.first[c]
