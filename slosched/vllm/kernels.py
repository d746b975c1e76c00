"""What happens to all running requests in every step, compiled: loops over the table's rows.

Imported when the scheduler is built and not before: vLLM on CPU does not start where numba was
imported first.
"""

import numpy as np
from numba import njit

from slosched.core.types import IntArray, LiveArray

_LAST = 2**61 + 1  # behind all ranks that planners give
_SPAN = 2**62 + 3  # more than any two places differ by


@njit(cache=True)
def place(live: LiveArray, row: int, computed: int, goal: IntArray, prompt: IntArray) -> None:
    """Write how far a running request has come.

    Parameters
    ----------
    live
        The table's rows.
    row, computed
        Which request, and how many tokens it has in the KV cache.
    goal, prompt
        By row of the table: how many tokens it takes until the request speaks, or speaks again;
        how many its prompt has.
    """
    request = live[row]
    request.context = computed
    request.prefill = max(goal[row] - computed, 0)
    if np.isnan(request.first_token):
        # Who has said nothing has a step to come: its first token is in flight at the best.
        request.prefill = max(request.prefill, 1)
    elif request.prefill == 0:
        # Every token computed since then has brought one, or will when its step is over.
        request.produced = computed + 1 - prompt[row]


@njit(cache=True)
def advance(
    live: LiveArray, rows: IntArray, tokens: IntArray, goal: IntArray, prompt: IntArray
) -> tuple[int, int, int, int]:
    """Write what a step does to those whom it serves, and sum it up.

    Parameters
    ----------
    rows
        Whom it serves; negative where somebody has no row.
    tokens
        By row of the table: how many tokens of each it computes; 1 everywhere afterwards.
    live, goal, prompt
        As for `place`.

    Returns
    -------
    Prompt tokens that the step computes, sequences that decode in it, tokens of their contexts
    before it; and how many have no row.
    """
    prefill = sequences = context = strangers = 0
    for row in rows:
        if row < 0:
            strangers += 1
            continue
        request = live[row]
        if request.running and request.prefill <= 1:
            sequences += 1
            context += request.context
        else:
            prefill += tokens[row]
        place(live, row, request.context + tokens[row], goal, prompt)
        tokens[row] = 1
    return prefill, sequences, context, strangers


@njit(cache=True)
def places(live: LiveArray, rows: IntArray, goal: IntArray) -> tuple[IntArray, bool]:
    """Say where running requests belong: those that decode first, each kind by rank.

    Parameters
    ----------
    rows
        Of the running requests; negative where one has none, which goes last.
    live, goal
        As for `place`.

    Returns
    -------
    The place of each, and whether they are in order already.
    """
    found = np.empty(len(rows), dtype=np.int64)
    ordered = True
    for k in range(len(rows)):
        row = rows[k]
        found[k] = _LAST if row < 0 else min(live[row].rank, _LAST - 1)
        if row >= 0 and live[row].context < goal[row]:
            found[k] += _SPAN
        ordered = ordered and (k == 0 or found[k - 1] <= found[k])
    return found, ordered


@njit(cache=True)
def by_rank(live: LiveArray, rows: IntArray) -> IntArray:
    """Sort rows of the table by rank; those of equal rank stay as they are."""
    ranks = np.empty(len(rows), dtype=np.int64)
    for k in range(len(rows)):
        ranks[k] = live[rows[k]].rank
    return rows[np.argsort(ranks, kind="mergesort")]
