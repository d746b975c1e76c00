"""The KV cache as a count of blocks (law 2)."""

import numpy as np

from slosched.core.types import IntArray


class KvCache:
    """Hands blocks of `block_size` tokens to table rows.

    Attributes
    ----------
    free
        Blocks that nobody holds.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.free = num_blocks
        self._block_size = block_size
        self._held: IntArray = np.zeros(64, dtype=np.int64)

    @property
    def held(self) -> int:
        """Blocks that rows hold; with `free` they make up `num_blocks`, always."""
        return int(self._held.sum())

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens fits into the free blocks."""
        return -(-tokens // self._block_size) <= self.free

    def fits_alone(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens fits into the empty cache."""
        return -(-tokens // self._block_size) <= self.num_blocks

    def missing(self, rows: IntArray, tokens: IntArray) -> IntArray:
        """Blocks that each row lacks to hold so many tokens, shape (rows,)."""
        self._grow(rows)
        return np.maximum(-(-tokens // self._block_size) - self._held[rows], 0)

    def take(self, rows: IntArray, blocks: IntArray) -> None:
        """Give blocks to rows; the caller has checked that they are free."""
        self._grow(rows)
        self._held[rows] += blocks
        self.free -= int(blocks.sum())

    def release(self, row: int) -> None:
        """Take all blocks of a row back."""
        self.free += int(self._held[row])
        self._held[row] = 0

    def _grow(self, rows: IntArray) -> None:
        if len(rows) and (top := int(rows.max())) >= len(self._held):
            self._held = np.concatenate((self._held, np.zeros(top + 1, dtype=np.int64)))
