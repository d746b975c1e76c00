"""Engines behind one queue, step by step, for requests that come over time; compiled.

The rollout knows requests that are there. This knows when each came, and so takes what is known
of some minutes afterwards.
"""

from typing import NamedTuple

import numpy as np

from slosched.core.fleet import NOWHERE
from slosched.core.types import BoolArray, FloatArray, IntArray
from slosched_solvers.kernel import kernel

_ROW, _PREFILL, _LEFT, _CONTEXT, _FIELDS = 0, 1, 2, 3, 4


class Coming(NamedTuple):
    """Requests; arrays of shape (n,)."""

    arrival: FloatArray  # s
    input_tokens: IntArray
    output_tokens: IntArray
    by_arrival: IntArray  # rows
    by_turn: IntArray  # rows
    rank: IntArray  # of each row in that
    place: IntArray  # an engine, or NOWHERE


class Engines(NamedTuple):
    """What r engines hold, and how long their steps take."""

    limits: IntArray  # (r, 3): slots, tokens a step, tokens of KV
    latency: FloatArray  # (r, 4): base, per prefill token, per sequence, per context token


class _Batches(NamedTuple):
    """Who is at each engine, in the order in which they were bound."""

    size: IntArray  # (r,)
    free: IntArray  # (r,): tokens of KV that nobody there will need
    ends: FloatArray  # (r,): when the step under way ends, s; inf if there is none
    chunk: IntArray  # (r, slots): tokens of prompts that this step computes
    who: IntArray  # (r, slots, FIELDS)


@kernel
def serve(coming: Coming, engines: Engines, first: FloatArray, finish: FloatArray) -> None:
    """Serve all; writes when each first token and each last one comes, s."""
    n, replicas = len(coming.arrival), len(engines.limits)
    most = engines.limits[:, 0].max()
    batches = _Batches(
        np.zeros(replicas, dtype=np.int64),
        engines.limits[:, 2].copy(),
        np.full(replicas, np.inf),
        np.zeros((replicas, most), dtype=np.int64),
        np.zeros((replicas, most, _FIELDS), dtype=np.int64),
    )
    waits = np.zeros(n, dtype=np.bool_)  # by rank
    came = 0
    lowest = n  # nobody of a rank below waits
    while True:
        now = coming.arrival[coming.by_arrival[came]] if came < n else np.inf
        now = min(now, batches.ends.min())
        if now == np.inf:
            return
        changed = False
        for r in range(replicas):
            if batches.ends[r] == now:
                changed |= _end_step(coming, batches, r, first, finish)
        while came < n and coming.arrival[coming.by_arrival[came]] <= now:
            rank = coming.rank[coming.by_arrival[came]]
            waits[rank] = True
            lowest = min(lowest, rank)
            came, changed = came + 1, True
        if changed:
            lowest = _bind(coming, engines, batches, waits, lowest)
        for r in range(replicas):
            if batches.ends[r] == np.inf and batches.size[r] > 0:
                batches.ends[r] = now + _begin_step(engines, batches, r)


@kernel
def _bind(
    coming: Coming, engines: Engines, batches: _Batches, waits: BoolArray, lowest: int
) -> int:
    """Bind in turn whoever there is room for; return the lowest rank that may still wait."""
    n = len(waits)
    open_ = batches.size < engines.limits[:, 0]
    while lowest < n and not waits[lowest]:
        lowest += 1
    for rank in range(lowest, n):
        if not open_.any():
            break
        if not waits[rank]:
            continue
        i = coming.by_turn[rank]
        needs = coming.input_tokens[i] + coming.output_tokens[i]
        chosen = _choose(coming, engines, batches, open_, i, needs)
        if chosen == NOWHERE:
            # Nobody overtakes it where it may go.
            if coming.place[i] == NOWHERE:
                break
            open_[coming.place[i]] = False
            continue
        waits[rank] = False
        batches.free[chosen] -= needs
        one = batches.who[chosen, batches.size[chosen]]
        one[_ROW], one[_PREFILL], one[_CONTEXT] = i, coming.input_tokens[i], 0
        one[_LEFT] = coming.output_tokens[i]
        batches.chunk[chosen, batches.size[chosen]] = 0  # of a step that is under way
        batches.size[chosen] += 1
        open_[chosen] = batches.size[chosen] < engines.limits[chosen, 0]
    return lowest


@kernel
def _choose(
    coming: Coming, engines: Engines, batches: _Batches, open_: BoolArray, i: int, needs: int
) -> int:
    """Choose who gets a request, of those that may and have room; NOWHERE without any."""
    chosen, soonest = NOWHERE, np.inf
    for r in range(len(open_)):
        if not open_[r] or (coming.place[i] != NOWHERE and coming.place[i] != r):
            continue
        if needs > batches.free[r] and batches.size[r] > 0:
            continue
        load = (batches.size[r] + 1) * engines.latency[r, 0]
        if load < soonest:
            chosen, soonest = r, load
    return chosen


@kernel
def _begin_step(engines: Engines, batches: _Batches, r: int) -> float:
    """Deal an engine's next step out to its batch; return how long it takes, s."""
    base, per_prefill, per_sequence, per_context = engines.latency[r]
    decoding = context = chunked = 0
    for k in range(batches.size[r]):
        one = batches.who[r, k]
        if one[_PREFILL] == 0:
            decoding += 1
            context += one[_CONTEXT]
    budget = engines.limits[r, 1] - decoding
    for k in range(batches.size[r]):
        chunk = min(batches.who[r, k, _PREFILL], budget)
        batches.chunk[r, k] = chunk
        budget -= chunk
        chunked += chunk
    return base + per_prefill * chunked + per_sequence * decoding + per_context * context


@kernel
def _end_step(
    coming: Coming, batches: _Batches, r: int, first: FloatArray, finish: FloatArray
) -> bool:
    """Take a step's tokens, and let go whoever is done; whether anybody is."""
    now, there, stay = batches.ends[r], batches.size[r], 0
    for k in range(there):
        one, chunk = batches.who[r, k], batches.chunk[r, k]
        i = one[_ROW]
        spoke = one[_PREFILL] == chunk
        if one[_PREFILL] == 0:
            one[_CONTEXT] += 1
        one[_PREFILL] -= chunk
        one[_CONTEXT] += chunk
        if spoke:
            if one[_LEFT] == coming.output_tokens[i]:
                first[i] = now
            one[_LEFT] -= 1
        if one[_LEFT] == 0:
            finish[i] = now
            batches.free[r] += coming.input_tokens[i] + coming.output_tokens[i]
        else:
            batches.who[r, stay] = one
            stay += 1
    batches.size[r], batches.ends[r] = stay, np.inf
    return stay < there
