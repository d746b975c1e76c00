"""The rollout: an order's first-token and finish times, in closed form between events.

Between an admission and the next finish the batch is constant, so the time of k decode steps is
a quadratic in k and a rollout costs O(n B), not O(tokens). `rollout_reference` is the same engine
step by step in plain Python.

What the engine does until it looks at the k-th waiting request is the same for all orders that
begin alike. So `replay` can leave a checkpoint at each waiting request, and begin at one.
"""

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.checkpoints import (
    FROM_SCRATCH,
    NO_CHECKPOINTS,
    STRIDE,
    Checkpoints,
    save,
)
from slosched_solvers.cost import combine, lateness
from slosched_solvers.instance import Instance
from slosched_solvers.kernel import inlined, kernel

NEVER = np.iinfo(np.int64).max
NO_LIMIT = np.inf
WORK_ROWS = 6


ANY_WEIGHTS = np.zeros(2)


def workspace(n: int) -> IntArray:
    """Scratch memory for rollouts of up to n requests."""
    return np.empty((WORK_ROWS, n + 1), dtype=np.int64)


@kernel
def replay(
    instance: Instance,
    order: IntArray,
    begin: int,
    record: bool,
    limit: float,
    kind: int,
    weights: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    work: IntArray,
    saved: Checkpoints,
) -> float:
    """Run an order through the engine, and price it.

    Running requests keep their slots, in the order's sequence; the others are admitted in
    sequence while there is a slot, token budget, and KV for the whole prompt, whether it is
    computed or found in the cache. When the KV cache
    is full, the request admitted last is preempted, and computes its context again.

    Parameters
    ----------
    order
        Permutation of the instance's rows; running ones first where checkpoints are used.
    begin
        Checkpoint in force to begin at, or FROM_SCRATCH. Every request that was looked at before
        it must be where it was when it was saved.
    record
        Save fresh checkpoints from there on.
    limit
        Give up, and return infinity, once the cost must exceed this; infinity under `g`, whose
        cost falls with every request on time.
    kind, weights
        `Objective.code`, and its latency_weight and tardiness_weight.
    first, finish
        Shape (n,), written: seconds from now to the first token (0 if it is out) and to the last
        one; inf for a request that the KV cache can never hold. Of requests that ended before
        the checkpoint, nothing is written.
    work
        From `workspace(n)`.

    Returns
    -------
    Cost of the order, as `slosched.core.objective.cost` has it; lower is better.
    """
    base, per_prefill, per_sequence, per_context = instance.latency
    slots, token_budget, free, lost = instance.limits
    left, prefill, context, due, batch, returned = work
    n = len(order)
    size = 0  # batch[:size] holds a slot, by admission
    back = 0  # returned[:back] was preempted for KV and waits again, the next one last
    oldest = 0  # nobody before this place in the batch is still prefilling
    next_due = NEVER  # step of the next finish; may be early after a preemption
    decoding = 0  # of the batch
    decoding_context = 0  # tokens
    steps = 0
    now = missed = slope = overdue = latency = 0.0
    on_time = 0
    # Of those that are sure to finish, as they fit alone: a floor under the cost to come.
    owed, owed_ages = 0, 0.0
    total_weight = 0.0
    for i in range(n):
        total_weight += instance.weight[i]
        if _fits_alone(instance, i):
            owed += 1
            owed_ages += instance.age[i]

    settled = 0
    while settled < n and instance.running[order[settled]]:
        settled += 1
    resumed = begin >= 0
    head = settled  # order[head:] was never admitted
    if resumed:
        version = saved.current[begin]
        head += saved.counters[version, begin, 0]
    for position in range(head if resumed else 0, n):
        i = order[position]
        left[i], prefill[i] = instance.remaining[i], instance.prefill[i]
        context[i], due[i] = instance.context[i], NEVER
        first[i] = 0.0 if instance.first_ago[i] == instance.first_ago[i] else np.inf
        finish[i] = np.inf
    if resumed:
        counters, sums = saved.counters[version, begin], saved.sums[version, begin]
        _, size, oldest, next_due, decoding, decoding_context, steps, free, on_time, owed = counters
        now, missed, slope, overdue, latency, owed_ages = sums
        members = saved.members[version, begin]
        for j in range(size):
            i = members[0, j]
            batch[j] = i
            due[i], left[i], prefill[i], context[i] = (
                members[1, j], members[2, j], members[3, j], members[4, j],
            )  # fmt: skip
            first[i], finish[i] = saved.first[version, begin, j], np.inf
    else:
        for position in range(settled):
            i = order[position]
            batch[size] = i
            size += 1
            free -= context[i] + prefill[i] + lost
            if prefill[i] == 0:
                due[i] = left[i]
                next_due = min(next_due, due[i])
                decoding += 1
                decoding_context += context[i]
    if record:
        saved.fresh[begin + 1 :] = False
    looked_at = -1  # the last place that was looked at, and did not fit
    next_save = settled + (begin + 1) * STRIDE if record else n

    while size + back + n - head > 0:
        if next_save <= head < n and looked_at != head:
            at = (head - settled) // STRIDE
            next_save = settled + (at + 1) * STRIDE
            save(
                saved, at, head - settled, size, oldest, next_due, decoding, decoding_context,
                steps, free, on_time, owed, now, missed, slope, overdue, latency, owed_ages,
                batch, due, left, prefill, context, first,
            )  # fmt: skip
        # 1. KV for one token of each decoding request, or the last one admitted goes.
        preempted = False
        while free < decoding:
            size -= 1
            i = batch[size]
            free += context[i] + prefill[i] + lost
            if due[i] != NEVER:
                grown = left[i] - (due[i] - steps)
                free += grown
                decoding -= 1
                decoding_context -= context[i] + grown
                left[i] -= grown
                context[i] += grown
                due[i] = NEVER
            prefill[i] += context[i]
            context[i] = 0
            if size > 0:
                returned[back] = i
                back += 1
            else:  # alone and too large: it never fits
                missed += instance.weight[i]
            preempted = True
            next_save = n  # who waits again is in no checkpoint
        oldest = min(oldest, size)

        # 2. Prefill within the token budget: the batch first, then whom there is room for.
        budget = token_budget - decoding
        chunked = 0
        for j in range(oldest, size):
            i = batch[j]
            if due[i] == NEVER and budget > 0:
                chunk = min(prefill[i], budget)
                prefill[i] -= chunk
                context[i] += chunk
                budget -= chunk
                chunked += chunk
        while back + n - head > 0 and size < slots and budget > 0 and not preempted:
            i = returned[back - 1] if back > 0 else order[head]
            fits = context[i] + prefill[i] + lost <= free
            if not fits and size > 0:
                looked_at = head
                break
            if back > 0:
                back -= 1
            else:
                head += 1
            if not fits:  # the whole cache is free, and too small
                missed += instance.weight[i]
                continue
            free -= context[i] + prefill[i] + lost
            batch[size] = i
            size += 1
            chunk = min(prefill[i], budget)
            prefill[i] -= chunk
            context[i] += chunk
            budget -= chunk
            chunked += chunk
        if size == 0:
            continue

        # 3. Let time pass: one step if it prefills, else until a finish or a full KV cache.
        k = 1
        if chunked == 0 and not preempted:
            k = min(free // decoding, next_due - steps)
        step = base + per_prefill * chunked + per_sequence * decoding
        now += k * (step + per_context * decoding_context)
        now += per_context * decoding * (k * (k - 1) / 2)
        steps += k
        decoding_context += k * decoding
        free -= k * decoding

        # 4. First tokens: whose prompt is computed has one.
        for j in range(oldest, size):
            i = batch[j]
            if due[i] == NEVER and prefill[i] == 0:
                if first[i] == np.inf:
                    first[i] = now
                left[i] -= 1
                due[i] = steps + left[i]
                next_due = min(next_due, due[i])
                decoding += 1
                decoding_context += context[i]
        while oldest < size and due[batch[oldest]] != NEVER:
            oldest += 1

        # 5. Finishes; who stays keeps its place in the batch.
        if steps == next_due:
            kept, oldest, next_due = 0, size, NEVER
            for j in range(size):
                i = batch[j]
                if due[i] == steps:
                    finish[i] = now
                    grown = context[i] + left[i]
                    decoding -= 1
                    decoding_context -= grown
                    free += grown + lost
                    latency += instance.age[i] + now
                    if _fits_alone(instance, i):
                        owed -= 1
                        owed_ages -= instance.age[i]
                    late, seconds = lateness(instance, i, first[i], now)
                    if late > 0.0:
                        missed += instance.weight[i]
                        slope += instance.weight[i] * late / (1.0 + late)
                        overdue += instance.weight[i] * seconds
                    else:
                        on_time += 1
                    continue
                next_due = min(next_due, due[i])
                if due[i] == NEVER:
                    oldest = min(oldest, kept)
                batch[kept] = i
                kept += 1
            size, oldest = kept, min(oldest, kept)
            floor = latency + owed_ages + owed * now
            at_least = combine(
                kind, weights, n, total_weight, missed, slope, overdue, floor, on_time
            )
            if at_least > limit:
                return np.inf
    return combine(kind, weights, n, total_weight, missed, slope, overdue, latency, on_time)


@kernel
def rollout(
    instance: Instance, order: IntArray, first: FloatArray, finish: FloatArray, work: IntArray
) -> None:
    """Run an order, with running requests anywhere in it, for its times alone; see `replay`."""
    running_first = np.argsort(~instance.running[order], kind="mergesort")
    replay(
        instance, order[running_first], FROM_SCRATCH, False, NO_LIMIT, 0, ANY_WEIGHTS, first,
        finish, work, NO_CHECKPOINTS,
    )  # fmt: skip


@inlined
def _fits_alone(instance: Instance, i: int) -> bool:
    """Whether the KV cache can hold a request to its end."""
    tokens = instance.context[i] + instance.prefill[i] + instance.remaining[i]
    return tokens + instance.limits[3] <= instance.limits[2]
