"""What a simulated engine knows between two steps: arrays alone, which its kernels share."""

from typing import Any, NamedTuple

import numpy as np

from slosched.core.snapshot import EngineLimits
from slosched.core.types import FloatArray, IntArray, LiveArray
from slosched.planner.observed import KEPT
from slosched.sim.options import EngineOptions

GONE, WAITING, RUNNING, PREEMPTED = 0, 1, 2, 3  # status of a sequence
NO_LIMIT = 2**40  # tokens, where a client sets none

SEQUENCE = np.dtype(
    [
        ("serial", np.int64),  # order of arrival; unique
        ("arrival", np.float64),  # s
        ("priority", np.int64),  # higher is more urgent
        ("prompt", np.int64),  # tokens
        ("length", np.int64),  # output tokens after which it stops
        ("cap", np.int64),  # output tokens after which vLLM knows that it stops
        ("pages", np.int64),  # how many of its prompt's pages have names
        ("status", np.int64),
        ("tokens", np.int64),  # of the prompt and of the answer as far as vLLM has seen it
        ("computed", np.int64),  # in the KV cache, or in it once the steps in flight are over
        ("placeholders", np.int64),  # output tokens that steps in flight will bring
        ("in_flight", np.int64),  # tokens that steps in flight compute
        ("stale", np.int64),  # of these, those of before it was preempted
        ("goal", np.int64),  # tokens to compute until it speaks, or speaks again
        ("prefilling", np.bool_),
        ("unsettled", np.bool_),  # an output in flight will change its row of the planner's table
        ("slot", np.int64),  # row of its blocks
        ("held", np.int64),  # how many blocks it has there
        ("cached", np.int64),  # how many of these can be found by their contents
        ("found", np.int64),  # tokens that the prefix cache had of it when it last began to wait
        ("first_token", np.float64),  # s; NaN until it is out
        ("last_token", np.float64),  # s
    ]
)

SERVED = np.dtype(  # one sequence of a batch
    [("row", np.int64), ("serial", np.int64), ("tokens", np.int64), ("speaks", np.bool_)]
)

COUNTERS = np.dtype(
    [
        ("running", np.int64),
        ("waiting", np.int64),
        ("fresh", np.int64),
        ("unsettled", np.int64),
        ("free", np.int64),  # blocks
        ("free_slots", np.int64),
        ("in_front", np.int64),  # how many were ever put in front of the queue
        ("at_back", np.int64),  # how many ever came to its end
        ("in_flight", np.int64),  # batches
        ("oldest", np.int64),  # place of the oldest of them in the ring
        ("served", np.int64),  # sequences of the batch that is being made
        ("admitted", np.int64),  # sequences that it let in
        ("preempted", np.int64),  # sequences that lost their slots since this was last asked
        ("ended", np.int64),  # sequences that ended since this was last asked
        ("preemptions", np.int64),  # in all
        ("steps", np.int64),
        # Shape of the batch that was made last.
        ("prefill_tokens", np.int64),
        ("sequences", np.int64),
        ("context_tokens", np.int64),
        # Seconds.
        ("now", np.float64),
        ("device_free", np.float64),  # when the device is done with all batches
        ("age_total", np.float64),  # of the plan in force, over all steps
        ("age_most", np.float64),
        ("gap_total", np.float64),  # between two tokens of a sequence, over all tokens
        ("gap_squares", np.float64),  # s^2
    ]
)


class Rules(NamedTuple):
    """What stays as it is during a run."""

    block_size: int
    page_tokens: int
    watermark: int  # blocks
    depth: int  # batches in flight
    prefix_caching: bool
    caches_outputs: bool  # as the asynchronous scheduler class does, and ours
    by_priority: bool
    planned: bool  # whether the plan's ranks are the order


class State(NamedTuple):
    """The arrays; rows are those of the planner's table."""

    counters: Any  # (1,) of COUNTERS
    seqs: Any  # (rows,) of SEQUENCE
    pages: IntArray  # (rows, most pages): names of the prompts' pages
    # Queues of rows.
    running: IntArray
    waiting: IntArray  # a heap
    keys: IntArray  # (rows,): of each in that heap, the least goes first
    fresh: IntArray  # who came since the last step, and is not in the heap yet
    skipped: IntArray
    unsettled: IntArray
    admitted: IntArray
    preempted: IntArray
    ended: IntArray
    # Batches in flight: a ring.
    batch: Any  # (depth, sequences) of SERVED
    batch_size: IntArray
    batch_end: FloatArray  # s
    # Blocks; number 0 is nobody's, as in vLLM, and both ends of the list of the free ones.
    blocks: IntArray  # (slots, most blocks): which each running sequence has, in order
    free_slots: IntArray
    after: IntArray  # the next free block
    before: IntArray  # the one before it
    users: IntArray  # how many sequences have it
    contents: IntArray  # name of what it holds; 0 if it cannot be found
    twin: IntArray  # the next block with the same contents
    names: IntArray  # hash table: name -> first block with these contents; 0 is an empty place
    # As `planner.observed` keeps them: what steps computed and took, and how many there were.
    kept: FloatArray
    seen: IntArray


def rules(limits: EngineLimits, options: EngineOptions) -> Rules:
    """Return the rules that an engine's limits and options come to."""
    ours = options.scheduler == "slosched"
    return Rules(
        limits.block_size,
        options.page_tokens,
        int(options.watermark * limits.num_kv_blocks),
        2 if options.async_scheduling else 1,
        options.enable_prefix_caching,
        ours or options.async_scheduling,
        options.scheduler == "vllm-priority",
        ours,
    )


def new_state(limits: EngineLimits, rule: Rules, rows: int) -> State:
    """Return the state of an empty engine, for a table of so many rows."""
    slots, blocks = limits.max_num_seqs, limits.num_kv_blocks
    counters = np.zeros(1, dtype=COUNTERS)
    counters["free"], counters["free_slots"] = blocks - 1, slots
    ring = np.arange(blocks, dtype=np.int64)
    places = 1 << max(2 * blocks, 8).bit_length()
    return State(
        counters,
        np.zeros(rows, dtype=SEQUENCE),
        np.zeros((rows, 0), dtype=np.int64),
        _rows(slots),
        _rows(rows),
        _rows(rows),
        _rows(rows),
        _rows(rows),
        _rows(2 * rows),
        _rows(slots),
        _rows(slots),
        _rows(rows),
        np.zeros((rule.depth, slots), dtype=SERVED),
        _rows(rule.depth),
        np.zeros(rule.depth),
        np.zeros((slots, 16), dtype=np.int64),
        np.arange(slots, dtype=np.int64),
        np.roll(ring, -1),
        np.roll(ring, 1),
        _rows(blocks),
        _rows(blocks),
        _rows(blocks),
        _rows(places),
        np.ones((2, KEPT, 4)),
        _rows(2),
    )


def with_room(state: State, rows: int, pages: int, blocks: int) -> State:
    """Return the state with room for so many rows, pages of a prompt, and blocks of a sequence."""
    if rows > len(state.seqs):
        more = rows - len(state.seqs)
        longer = {
            name: np.concatenate((getattr(state, name), _rows(more)))
            for name in ("waiting", "keys", "fresh", "skipped", "ended")
        }
        longer["unsettled"] = np.concatenate((state.unsettled, _rows(2 * more)))
        seqs = np.concatenate((state.seqs, np.zeros(more, dtype=SEQUENCE)))
        wide = np.zeros((more, state.pages.shape[1]), dtype=np.int64)
        state = state._replace(seqs=seqs, pages=np.concatenate((state.pages, wide)), **longer)
    if pages > state.pages.shape[1]:
        state = state._replace(pages=_wider(state.pages, pages))
    if blocks > state.blocks.shape[1]:
        state = state._replace(blocks=_wider(state.blocks, blocks))
    return state


def _wider(table: IntArray, columns: int) -> IntArray:
    wider = np.zeros((len(table), max(columns, 2 * table.shape[1])), dtype=np.int64)
    wider[:, : table.shape[1]] = table
    return wider


def _rows(count: int) -> LiveArray:
    return np.zeros(count, dtype=np.int64)
