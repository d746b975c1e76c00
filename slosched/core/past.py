"""Requests that have come already: to be served once more, by a model, in another order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slosched.core.fleet import Engine
from slosched.core.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Past:
    """What came; arrays of shape (n,).

    Parameters
    ----------
    arrival
        Seconds.
    input_tokens, output_tokens
        Of prompts and answers, each at least 1.
    """

    arrival: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray

    def __len__(self) -> int:
        return len(self.arrival)


class Replay(Protocol):
    """Serves requests of the past by a model of the engines."""

    def __call__(
        self, past: Past, engines: Sequence[Engine], turn: FloatArray, place: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Serve them once more.

        Parameters
        ----------
        engines
            At least one.
        turn
            Shape (n,): of those who have come and wait, the least goes first.
        place
            Shape (n,): which engine serves each; NOWHERE for the one that has room first.

        Returns
        -------
        When each first token and each last one comes, each of shape (n,), on the clock of the
        arrivals.
        """
        ...
