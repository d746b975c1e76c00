"""KV blocks: who holds which, in what order they are freed, and which prompts find them again.

As vLLM's block pool does it: free blocks stay findable by their contents until they are handed
out again, those that were freed first first; a request's last blocks come before its first ones,
and blocks that nobody could find before all others (laws 1 and 2).
"""

from numba import njit

from slosched.sim.state import Rules, State

_PLACE_BITS = 24  # blocks of one sequence; the rest of a name is whose they are
_OWN = 1 << 62  # set in names of contents that no other sequence can have
_SPREAD = -7046029254386353131  # 2**64 / golden ratio, as Knuth's multiplicative hash has it


@njit(cache=True)
def name(rule: Rules, state: State, row: int, place: int) -> int:
    """Name what the block at a place of a sequence holds once it is full, and all before it."""
    seq = state.seqs[row]
    end = (place + 1) * rule.block_size
    page = (end - 1) // rule.page_tokens
    if end <= seq.prompt and page < seq.pages:
        # A page's name stands for all pages before it too.
        return ((state.pages[row, page] + 1) << _PLACE_BITS) | place
    return _OWN | (seq.serial << _PLACE_BITS) | place


@njit(cache=True)
def found(rule: Rules, state: State, row: int) -> int:
    """Count the blocks of a waiting sequence that can be found; one token at least is left."""
    if not rule.prefix_caching:
        return 0
    most = (state.seqs[row].tokens - 1) // rule.block_size
    place = 0
    while place < most and state.names[_look_up(state, name(rule, state, row, place))]:
        place += 1
    return place


@njit(cache=True)
def cost(rule: Rules, state: State, row: int, blocks: int) -> int:
    """Count the blocks that are free no more once a waiting sequence is let in.

    Parameters
    ----------
    blocks
        How many of its own it finds.
    """
    seq = state.seqs[row]
    needed = -(-seq.tokens // rule.block_size) - blocks
    for place in range(blocks):
        block = state.names[_look_up(state, name(rule, state, row, place))]
        needed += state.users[block] == 0
    return needed


@njit(cache=True)
def share(rule: Rules, state: State, row: int, blocks: int) -> None:
    """Give a sequence the blocks that it found."""
    seq = state.seqs[row]
    for place in range(blocks):
        block = state.names[_look_up(state, name(rule, state, row, place))]
        if state.users[block] == 0:
            _unlink(state, block)
        state.users[block] += 1
        state.blocks[seq.slot, place] = block
    seq.held = seq.cached = blocks


@njit(cache=True)
def take(rule: Rules, state: State, row: int, tokens: int) -> bool:
    """Give a sequence blocks for so many tokens in all; False, and none, if they are not free."""
    seq = state.seqs[row]
    lacking = -(-tokens // rule.block_size) - seq.held
    if lacking > state.counters[0].free:
        return False
    for _ in range(lacking):
        block = state.after[0]
        _unlink(state, block)
        if state.contents[block]:
            _forget(state, block)
        state.users[block] = 1
        state.blocks[seq.slot, seq.held] = block
        seq.held += 1
    return True


@njit(cache=True)
def publish(rule: Rules, state: State, row: int, tokens: int) -> None:
    """Let the full blocks among a sequence's first so many tokens be found."""
    seq = state.seqs[row]
    full = tokens // rule.block_size
    if not rule.prefix_caching:
        return
    for place in range(seq.cached, full):
        block = state.blocks[seq.slot, place]
        state.contents[block] = name(rule, state, row, place)
        _remember(state, block)
    seq.cached = max(seq.cached, full)


@njit(cache=True)
def release(state: State, row: int) -> None:
    """Take all blocks of a sequence back."""
    seq = state.seqs[row]
    first = 0  # blocks that nobody can find go to the front, in the order that they are freed in
    for place in range(seq.held - 1, -1, -1):
        block = state.blocks[seq.slot, place]
        state.users[block] -= 1
        if state.users[block] > 0:
            continue
        if state.contents[block]:
            _link(state, block, state.before[0])
        else:
            _link(state, block, first)
            first = block
    seq.held = seq.cached = 0


@njit(cache=True)
def _link(state: State, block: int, behind: int) -> None:
    """Put a block into the list of the free ones, behind another."""
    ahead = state.after[behind]
    state.after[behind], state.before[ahead] = block, block
    state.before[block], state.after[block] = behind, ahead
    state.counters[0].free += 1


@njit(cache=True)
def _unlink(state: State, block: int) -> None:
    """Take a block out of the list of the free ones."""
    state.after[state.before[block]] = state.after[block]
    state.before[state.after[block]] = state.before[block]
    state.counters[0].free -= 1


# -- the hash table: linear probing; several blocks of the same contents are a chain ---------------


@njit(cache=True)
def _home(state: State, contents: int) -> int:
    return ((contents * _SPREAD) >> 20) & (len(state.names) - 1)


@njit(cache=True)
def _look_up(state: State, contents: int) -> int:
    """Place of the chain with these contents, or the empty place where it would be."""
    place = _home(state, contents)
    while state.names[place] and state.contents[state.names[place]] != contents:
        place = (place + 1) & (len(state.names) - 1)
    return place


@njit(cache=True)
def _remember(state: State, block: int) -> None:
    """Put a block at the end of the chain of its contents."""
    place = _look_up(state, state.contents[block])
    if not state.names[place]:
        state.names[place] = block
        return
    last = state.names[place]
    while state.twin[last]:
        last = state.twin[last]
    state.twin[last] = block


@njit(cache=True)
def _forget(state: State, block: int) -> None:
    """Take a block out of the chain of its contents."""
    place = _look_up(state, state.contents[block])
    chain = state.names[place]
    if chain != block:
        while state.twin[chain] != block:
            chain = state.twin[chain]
        state.twin[chain] = state.twin[block]
    elif state.twin[block]:
        state.names[place] = state.twin[block]
    else:
        _close_gap(state, place)
    state.contents[block] = state.twin[block] = 0


@njit(cache=True)
def _close_gap(state: State, gap: int) -> None:
    """Empty a place, and move up whoever would not be found behind it."""
    last = len(state.names) - 1
    place = gap
    while True:
        place = (place + 1) & last
        if not state.names[place]:
            break
        home = _home(state, state.contents[state.names[place]])
        if ((place - home) & last) >= ((place - gap) & last):
            state.names[gap] = state.names[place]
            gap = place
    state.names[gap] = 0
