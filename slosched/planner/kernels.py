"""What planning does to all live requests inside of an engine's step, compiled.

Imported when a planner is built and not before: vLLM on CPU does not start where numba was
imported first. Compiled for int64 and contiguous arrays; others would be compiled for in a step.
"""

import numpy as np
from numba import njit

from slosched.core.types import FloatArray, IntArray, LiveArray


@njit(cache=True)
def due(rows: LiveArray, at: IntArray) -> IntArray:
    """Say whose lengths are to be predicted, for the first time or again.

    Returns
    -------
    Places in `at`, which are rows of the table.
    """
    found, n = np.empty(len(at), dtype=np.int64), 0
    for k in range(len(at)):
        if rows[at[k]].produced >= rows[at[k]].predict_at:
            found[n] = k
            n += 1
    return found[:n].copy()


@njit(cache=True)
def give_ranks(rows: LiveArray, at: IntArray, live: LiveArray, order: IntArray, least: int) -> int:
    """Write the ranks of an order into the table; return how many of it are there still.

    Parameters
    ----------
    rows
        The table's.
    at, live
        Shape (n,): which rows a snapshot of it has, and the snapshot.
    order
        Rows of the snapshot, some or all.
    least
        Rank of the first.
    """
    there = 0
    for place in range(len(order)):
        request = rows[at[order[place]]]
        if request.serial == live[order[place]].serial:
            request.rank = least + place
            there += 1
    return there


@njit(cache=True)
def take_lengths(rows: LiveArray, at: IntArray, live: LiveArray, whom: IntArray) -> None:
    """Write what a snapshot came to say of some lengths into the table, of who is there still.

    Parameters
    ----------
    whom
        Rows of the snapshot.
    rows, at, live
        As for `give_ranks`.
    """
    for k in whom:
        request, predicted = rows[at[k]], live[k]
        if request.serial == predicted.serial:
            request.short, request.length = predicted.short, predicted.length
            request.long, request.first_guess = predicted.long, predicted.first_guess
            request.predict_at = predicted.predict_at


@njit(cache=True)
def note(
    said: LiveArray,
    at: IntArray,
    live: LiveArray,
    now: float,
    first: FloatArray,
    finish: FloatArray,
) -> None:
    """Write what a plan says of each request, see `Expectations`.

    Parameters
    ----------
    said
        By row of the table.
    at, live
        As for `give_ranks`.
    now
        When the snapshot was taken, s.
    first, finish
        Shape (n,): seconds from then to each first token and finish; inf where nothing is said.
    """
    for k in range(len(at)):
        if not (np.isfinite(first[k]) or np.isfinite(finish[k])):
            continue  # of most of a long queue a plan says nothing
        one, request = said[at[k]], live[k]
        if one.serial != request.serial:
            one.serial = request.serial
            one.first = one.finish = np.nan
        if np.isnan(one.first) and np.isnan(request.first_token):
            one.first = now + first[k] if np.isfinite(first[k]) else np.nan
            one.first_from = now
        if not request.running or np.isnan(one.finish):
            one.finish = now + finish[k] if np.isfinite(finish[k]) else np.nan
            one.finish_from = now
            one.tokens = max(np.rint(request.length - request.produced), 1.0)
            one.produced = request.produced


@njit(cache=True)
def came(said: LiveArray, at: IntArray, live: LiveArray) -> IntArray:
    """Say whose first token was awaited and is out; places in `at`, see `note`."""
    found, n = np.empty(len(at), dtype=np.int64), 0
    for k in range(len(at)):
        if at[k] >= len(said) or np.isnan(live[k].first_token):
            continue
        one = said[at[k]]
        if one.serial == live[k].serial and not np.isnan(one.first):
            found[n] = k
            n += 1
    return found[:n].copy()
