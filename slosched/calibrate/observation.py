"""What a measurement says: so much was computed, and it took so long."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from slosched.core.types import FloatArray


class Regime(StrEnum):
    """What kind of work an engine was at."""

    prefill = "prefill"  # one prompt alone
    decode = "decode"  # some sequences, and no prompt
    mixed = "mixed"  # a prompt while some sequences decode
    burst = "burst"  # some prompts at once


FITTED = (Regime.prefill, Regime.decode)  # by a line; the others check what comes out


@dataclass(frozen=True, slots=True)
class Observation:
    """A stretch of consecutive engine steps.

    Parameters
    ----------
    what
        Which of the measurements it is, for people: those alike have the same.
    steps
        How many steps.
    prompt_steps
        How many of them computed prompt tokens.
    prefill
        Prompt tokens computed in them, together.
    sequences, context
        Decoding sequences, and tokens of their contexts, each summed over the steps.
    requests
        How many times what a request costs outside of steps is part of `seconds`.
    seconds
        How long they took.
    """

    regime: Regime
    what: str
    steps: float
    prompt_steps: float
    prefill: float
    sequences: float
    context: float
    requests: float
    seconds: float


def design(observations: Sequence[Observation]) -> FloatArray:
    """Put what was computed into an array, shape (n, 5), as the coefficients of a fit go."""
    rows = [(o.steps, o.prefill, o.sequences, o.context, o.requests) for o in observations]
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def times(observations: Sequence[Observation]) -> FloatArray:
    """Put the seconds into an array, shape (n,)."""
    return np.array([o.seconds for o in observations], dtype=np.float64)
