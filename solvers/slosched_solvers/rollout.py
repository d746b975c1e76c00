"""The rollout: an order's first-token and finish times, in closed form between events.

Between an admission and the next finish the batch is constant, so the time of k decode steps is
a quadratic in k and a rollout costs O(n B), not O(tokens). `rollout_reference` is the same engine
step by step in plain Python.
"""

import numpy as np
from numba import njit

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.instance import Instance

NEVER = np.iinfo(np.int64).max
WORK_ROWS = 6


def workspace(n: int) -> IntArray:
    """Scratch memory for rollouts of up to n requests."""
    return np.empty((WORK_ROWS, n + 1), dtype=np.int64)


@njit(nogil=True, cache=True)
def rollout(
    instance: Instance, order: IntArray, first: FloatArray, finish: FloatArray, work: IntArray
) -> None:
    """Run an order through the engine.

    Running requests keep their slots, in the order's sequence; the others are admitted in
    sequence while there is a slot, token budget, and KV for the whole prompt. When the KV cache
    is full, the request admitted last is preempted, and computes its context again.

    Parameters
    ----------
    order
        Permutation of the instance's rows.
    first, finish
        Shape (n,), written: seconds from now to the first token (0 if it is out) and to the last
        one; inf for a request that the KV cache can never hold.
    work
        From `workspace(n)`.
    """
    base, per_prefill, per_sequence, per_context = instance.latency
    slots, token_budget, free, lost = instance.limits
    left, prefill, context, due, batch, queue = work
    size = 0  # batch[:size] holds a slot, by admission
    queued = 0  # queue[:queued] waits, the next one last
    oldest = 0  # nobody before this place in the batch is still prefilling
    next_due = NEVER  # step of the next finish; may be early after a preemption
    decoding = 0  # of the batch
    decoding_context = 0  # tokens
    steps = 0
    now = 0.0

    for position in range(len(order) - 1, -1, -1):
        i = order[position]
        left[i], prefill[i] = instance.remaining[i], instance.prefill[i]
        context[i], due[i] = instance.context[i], NEVER
        first[i] = 0.0 if instance.first_ago[i] == instance.first_ago[i] else np.inf
        finish[i] = np.inf
        if not instance.running[i]:
            queue[queued] = i
            queued += 1
    for i in order:
        if instance.running[i]:
            batch[size] = i
            size += 1
            free -= context[i] + prefill[i] + lost
            if prefill[i] == 0:
                due[i] = left[i]
                next_due = min(next_due, due[i])
                decoding += 1
                decoding_context += context[i]

    while size + queued > 0:
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
            if size > 0:  # alone and too large: it never fits
                queue[queued] = i
                queued += 1
            preempted = True
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
        while queued > 0 and size < slots and budget > 0 and not preempted:
            i = queue[queued - 1]
            if prefill[i] + lost > free:
                if size > 0:
                    break
                queued -= 1  # the whole cache is free, and too small
                continue
            queued -= 1
            free -= prefill[i] + lost
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
                    continue
                next_due = min(next_due, due[i])
                if due[i] == NEVER:
                    oldest = min(oldest, kept)
                batch[kept] = i
                kept += 1
            size, oldest = kept, min(oldest, kept)
