"""The live rows of a table, gathered into a snapshot's memory; compiled.

numpy would let go of the interpreter's lock with every operation on so many rows, inside of an
engine's step, and wait for the planner's thread to give it back.
"""

from numba import njit

from slosched.core.live import NOBODY
from slosched.core.types import IntArray, LiveArray


@njit(cache=True)
def gather(
    rows: LiveArray, in_order: IntArray, admitted: IntArray, live: LiveArray, at: IntArray
) -> None:
    """Copy all live rows, once passes are counted in them.

    Parameters
    ----------
    rows
        The table's.
    in_order
        Which of them are live, in order of serials; NOBODY in between.
    admitted
        Serials of who got a slot since passes were counted, in order.
    live, at
        Written: copies of the rows, and which rows they are; for as many as are live.
    """
    n = before = 0
    for row in in_order:
        if row == NOBODY:
            continue
        request = rows[row]
        while before < len(admitted) and admitted[before] <= request.serial:
            before += 1
        if not request.running:
            request.passes += len(admitted) - before
        live[n] = request
        at[n] = row
        n += 1
