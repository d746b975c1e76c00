"""How long one engine step takes, with what a line leaves out."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from slosched.core.latency import LinearLatency, Tokens
from slosched.core.types import FloatArray


@dataclass(frozen=True, slots=True)
class DetailedLatency:
    """Seconds of one engine step, for simulations; planning reckons with `LinearLatency`.

    Engines compute batches of some sizes as fast as larger ones, and a step with prompts takes
    other kernels than one without.

    Parameters
    ----------
    base, per_prefill_token, per_context_token
        As of `LinearLatency`.
    prompt_step
        Seconds that a step with prompt tokens takes more, however many they are.
    sequences
        Pairs: some numbers of decoding sequences, increasing from 1 or more, and the seconds that
        so many add to a step. Lines join them and (0, 0); the last goes on.

    Raises
    ------
    ValueError
        If a coefficient is negative, `base` is not positive, there are no pairs, or they do not
        increase; of seconds, equal ones will do.
    """

    base: float
    per_prefill_token: float
    per_context_token: float
    prompt_step: float
    sequences: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if not self.base > 0:
            raise ValueError(f"base must be greater than 0, got {self.base}")
        for name in ("per_prefill_token", "per_context_token", "prompt_step"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.sequences:
            raise ValueError("sequences must have a pair at least")
        for (fewer, less), (more, seconds) in pairwise(((0, 0.0), *self.sequences)):
            if not (more > fewer and seconds >= less):
                raise ValueError(
                    f"sequences must increase, and what they add must not fall, got {more} "
                    f"sequences at {seconds} after {fewer} at {less}"
                )

    @classmethod
    def of(cls, model: "StepLatency") -> "DetailedLatency":
        """Return the same model with all its details, if it has any."""
        if isinstance(model, DetailedLatency):
            return model
        sequences = ((1, model.per_sequence),)
        return cls(model.base, model.per_prefill_token, model.per_context_token, 0.0, sequences)

    def by_sequences(self, most: int) -> FloatArray:
        """Return the seconds that 0 to `most` decoding sequences add, shape (most + 1,)."""
        numbers: FloatArray = np.arange(most + 1, dtype=np.float64)
        added = np.zeros(most + 1)
        for (fewer, less), (more, seconds) in pairwise(((0, 0.0), *self.sequences)):
            each = (seconds - less) / (more - fewer)
            added = np.where(numbers > fewer, less + (numbers - fewer) * each, added)
        return added

    def step(self, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Seconds of one step."""
        return (
            self.base
            + self.per_prefill_token * prefill_tokens
            + self.prompt_step * (prefill_tokens > 0)
            + float(self.by_sequences(round(sequences))[-1])
            + self.per_context_token * context_tokens
        )

    def prompt_alone(self, tokens: Tokens, most: int) -> Tokens:
        """Seconds to compute a prompt with the engine to itself, `most` tokens a step."""
        step = self.base + self.prompt_step
        return -(-tokens // most) * step + tokens * self.per_prefill_token

    def answer_alone(self, tokens: Tokens, context: Tokens) -> Tokens:
        """Seconds to decode so many tokens after a context with the engine to itself."""
        steps = tokens * (self.base + float(self.by_sequences(1)[1]))
        return steps + self.per_context_token * (tokens * context + tokens * (tokens - 1) / 2)


StepLatency = LinearLatency | DetailedLatency
