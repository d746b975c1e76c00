"""When a plan expects the first token and the last of each request that it knows."""

from math import inf

import numpy as np

from slosched.core.live import NOBODY
from slosched.core.types import FloatArray, IntArray
from slosched.dispatch.lives import Lives


class Outlook:
    """What a plan said, by rows of the table: of thousands, few are ever asked for.

    Parameters
    ----------
    lives
        The live requests; of others nothing is known.
    rows, serials
        Shape (n,): who was in which row when the plan was made.
    first, finish
        Shape (n,): when each first token and finish is expected, s; inf if not at all.
    """

    def __init__(
        self, lives: Lives, rows: IntArray, serials: IntArray, first: FloatArray, finish: FloatArray
    ) -> None:
        self._lives = lives
        room = len(lives.table.rows)
        self._serials = np.full(room, NOBODY, dtype=np.int64)
        self._times = np.empty((room, 2))
        self._serials[rows] = serials
        self._times[rows, 0], self._times[rows, 1] = first, finish

    def get(self, request_id: str) -> tuple[float, float] | None:
        """When a request's first token and its last are expected, s; None if unknown."""
        life = self._lives.get(request_id)
        if life is None or life.row >= len(self._serials):
            return None
        if self._serials[life.row] != self._lives.table.rows["serial"][life.row]:
            return None
        return float(self._times[life.row, 0]), float(self._times[life.row, 1])

    def first(self, request_id: str) -> float:
        """When a request's first token is expected, s; inf if it is not."""
        known = self.get(request_id)
        return inf if known is None else known[0]
