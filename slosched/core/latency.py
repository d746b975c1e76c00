"""How long one engine step takes, and how to learn it from observed steps."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from slosched.core.types import FloatArray

Tokens = TypeVar("Tokens", float, FloatArray)


@dataclass(frozen=True, slots=True)
class LinearLatency:
    """Seconds of one engine step, linear in what the step computes.

    This contains the linear models of arXiv 2504.14966, section 4.

    Parameters
    ----------
    base
        Seconds of a step that does next to nothing.
    per_prefill_token
        Seconds for each prompt token computed in the step.
    per_sequence
        Seconds for each sequence that decodes in the step.
    per_context_token
        Seconds for each token of the decoding sequences' contexts.

    Raises
    ------
    ValueError
        If a coefficient is negative, or `base` is not positive.
    """

    base: float
    per_prefill_token: float
    per_sequence: float
    per_context_token: float

    def __post_init__(self) -> None:
        if not self.base > 0:
            raise ValueError(f"base must be greater than 0, got {self.base}")
        for name in ("per_prefill_token", "per_sequence", "per_context_token"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def slower(self, factor: float) -> "LinearLatency":
        """Return a model by which every step takes `factor` times as long."""
        return LinearLatency(
            self.base * factor,
            self.per_prefill_token * factor,
            self.per_sequence * factor,
            self.per_context_token * factor,
        )

    def step(self, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Seconds of one step."""
        return (
            self.base
            + self.per_prefill_token * prefill_tokens
            + self.per_sequence * sequences
            + self.per_context_token * context_tokens
        )

    def prompt_alone(self, tokens: Tokens, most: int) -> Tokens:
        """Seconds to compute a prompt with the engine to itself, `most` tokens a step."""
        return -(-tokens // most) * self.base + tokens * self.per_prefill_token

    def answer_alone(self, tokens: Tokens, context: Tokens) -> Tokens:
        """Seconds to decode so many tokens after a context with the engine to itself."""
        steps = tokens * (self.base + self.per_sequence)
        return steps + self.per_context_token * (tokens * context + tokens * (tokens - 1) / 2)


def fit(steps: FloatArray, seconds: FloatArray) -> LinearLatency:
    """Fit the model to observed steps by least squares on the relative error.

    A coefficient that would come out negative is left out and the rest fitted again, so the
    result is always usable for planning.

    Parameters
    ----------
    steps
        Shape (n, 3): prefill tokens, decoding sequences and context tokens of each step.
    seconds
        Shape (n,): how long each took; all positive.

    Raises
    ------
    ValueError
        If there are fewer than four steps, or a time is not positive.
    """
    if len(steps) < 4:
        raise ValueError(f"a fit needs at least 4 steps, got {len(steps)}")
    if not np.all(seconds > 0):
        raise ValueError("every step must have taken a positive time")
    design = np.column_stack((np.ones(len(steps)), steps)) / seconds[:, None]
    scale = np.maximum(np.abs(design).max(axis=0), np.finfo(float).tiny)
    active = np.ones(4, dtype=bool)
    coefficients = np.zeros(4)
    while active.any():
        solution = np.linalg.lstsq(
            design[:, active] / scale[active], np.ones(len(steps)), rcond=None
        )[0]
        if np.all(solution >= 0):
            coefficients[active] = solution / scale[active]
            break
        active[np.flatnonzero(active)[np.argmin(solution)]] = False
    floor = 1e-6  # a base of zero would let an idle engine's clock stand still
    return LinearLatency(max(float(coefficients[0]), floor), *(float(c) for c in coefficients[1:]))
