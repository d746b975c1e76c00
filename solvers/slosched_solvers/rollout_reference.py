"""The rollout's twin: the same engine, step by step, in plain Python (law 7)."""

from dataclasses import dataclass
from math import inf

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched_solvers.instance import Instance


@dataclass(slots=True)
class _Sequence:
    row: int
    prefill: int
    context: int
    left: int


def rollout_reference(
    instance: Instance, order: IntArray, scenario: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Run an order through the engine; seconds to each first token and finish, shape (n,)."""
    slots, token_budget, free, lost = (int(limit) for limit in instance.limits)
    base, per_prefill, per_sequence, per_context = (float(c) for c in instance.latency)
    first = np.where(np.isnan(instance.first_ago), inf, 0.0)
    finish = np.full(len(order), inf)
    live = [
        _Sequence(
            int(row),
            int(instance.prefill[row]),
            int(instance.context[row]),
            int(instance.remaining[scenario, row]),
        )
        for row in order
    ]
    batch = [s for s in live if instance.running[s.row]]
    queue = [s for s in live if not instance.running[s.row]]
    free -= sum(s.context + s.prefill + lost for s in batch)
    now = 0.0
    while batch or queue:
        decoding = [s for s in batch if s.prefill == 0]
        preempted = False
        while free < len(decoding):
            victim = batch.pop()
            preempted = True
            free += victim.context + victim.prefill + lost
            victim.prefill += victim.context + (victim in decoding)  # its newest token, too
            victim.context = 0
            if batch:
                queue.insert(0, victim)
            decoding = [s for s in batch if s.prefill == 0]

        budget = token_budget - len(decoding)
        chunks: list[tuple[_Sequence, int]] = []
        for sequence in batch:
            if sequence.prefill and budget > 0:
                chunks.append((sequence, min(sequence.prefill, budget)))
                budget -= chunks[-1][1]
        while queue and len(batch) < slots and budget > 0 and not preempted:
            if queue[0].context + queue[0].prefill + lost > free - len(decoding):
                if batch:
                    break
                queue.pop(0)
                continue
            sequence = queue.pop(0)
            free -= sequence.context + sequence.prefill + lost
            batch.append(sequence)
            chunks.append((sequence, min(sequence.prefill, budget)))
            budget -= chunks[-1][1]

        if not batch:
            continue
        now += base + per_prefill * sum(chunk for _, chunk in chunks)
        now += per_sequence * len(decoding) + per_context * sum(s.context for s in decoding)
        for sequence in decoding:
            sequence.context += 1
            sequence.left -= 1
            free -= 1
        for sequence, chunk in chunks:
            sequence.prefill -= chunk
            sequence.context += chunk
            if sequence.prefill == 0:
                first[sequence.row] = min(first[sequence.row], now)
                sequence.left -= 1
        for sequence in [s for s in batch if s.left == 0]:
            finish[sequence.row] = now
            free += sequence.context + lost
            batch.remove(sequence)
    return first, finish
