"""The waiting queue: a heap of rows, by key, then arrival, then serial."""

from numba import njit

from slosched.sim.state import State


@njit(cache=True)
def push(state: State, row: int) -> None:
    """Put a sequence into the queue, where its key says."""
    heap, counters = state.waiting, state.counters[0]
    at = counters.waiting
    counters.waiting += 1
    heap[at] = row
    _rise(state, at)


@njit(cache=True)
def pop(state: State) -> int:
    """Take out who goes next."""
    return take_out(state, 0)


@njit(cache=True)
def take_out(state: State, at: int) -> int:
    """Take out the sequence at a place of the heap."""
    heap, counters = state.waiting, state.counters[0]
    row = heap[at]
    counters.waiting -= 1
    last = counters.waiting
    if at < last:
        heap[at] = heap[last]
        _sink(state, at)
        _rise(state, at)
    return row


@njit(cache=True)
def remove(state: State, row: int) -> None:
    """Take out a sequence, wherever it is."""
    for at in range(state.counters[0].waiting):
        if state.waiting[at] == row:
            take_out(state, at)
            return


@njit(cache=True)
def heapify(state: State) -> None:
    """Bring the heap into order once keys have changed."""
    for at in range(state.counters[0].waiting // 2 - 1, -1, -1):
        _sink(state, at)


@njit(cache=True)
def _goes_first(state: State, one: int, other: int) -> bool:
    if state.keys[one] != state.keys[other]:
        return state.keys[one] < state.keys[other]
    a, b = state.seqs[one], state.seqs[other]
    if a.arrival != b.arrival:
        return a.arrival < b.arrival
    return a.serial < b.serial


@njit(cache=True)
def _rise(state: State, at: int) -> None:
    heap = state.waiting
    while at and _goes_first(state, heap[at], heap[(at - 1) // 2]):
        parent = (at - 1) // 2
        heap[at], heap[parent] = heap[parent], heap[at]
        at = parent


@njit(cache=True)
def _sink(state: State, at: int) -> None:
    heap, size = state.waiting, state.counters[0].waiting
    while True:
        least = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and _goes_first(state, heap[child], heap[least]):
                least = child
        if least == at:
            return
        heap[at], heap[least] = heap[least], heap[at]
        at = least
