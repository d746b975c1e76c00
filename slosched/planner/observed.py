"""The latency model, learned from the engine's own steps while it serves."""

from collections import deque
from typing import NamedTuple

import numpy as np

from slosched.core.latency import LinearLatency

KEPT = 256  # of each kind of step
REFIT = 64


class StepShape(NamedTuple):
    """What one step computes, in the latency model's terms."""

    prefill_tokens: int
    sequences: int
    context_tokens: int


class ObservedLatency:
    """Refits the latency model to the newest steps, every 64 of them.

    Steps with and without prefill are kept apart, 256 each, so that a long spell of pure
    decoding does not wash out what a prompt token costs.

    Parameters
    ----------
    initial
        Used until there is enough to fit, and for whatever no step has shown yet.

    Attributes
    ----------
    model
        What was learned last.
    kept, seen
        What the newest steps computed and took, shape (2, KEPT, 4), those of pure decoding first;
        and how many of each there were so far. Whoever knows a step's time may write it there,
        as `add` does.
    """

    def __init__(self, initial: LinearLatency) -> None:
        from slosched.planner.fitting import fit_both  # brings numba

        self._fit = fit_both
        self.model = initial
        # Steps that were given to the engine: any object for each, its shape, and when.
        self._in_flight: deque[tuple[object, StepShape, float]] = deque()
        self.kept = np.ones((2, KEPT, len(StepShape._fields) + 1))
        self.seen = np.zeros(2, dtype=np.int64)
        self._fitted_at = 0  # steps
        self._last_finish = -np.inf
        self._fit(*self.kept, np.ones(4))  # compiles it

    def start(self, step: object, shape: StepShape, now: float) -> None:
        """Note that the engine was given a step; any object may stand for it."""
        self._in_flight.append((step, shape, now))

    def finish(self, step: object, now: float) -> None:
        """Note that a step's output is there; steps that were never started do not count."""
        # The engine computes steps one after the other: under asynchronous scheduling, a step
        # handed over early begins only when the one before it is done.
        previous, self._last_finish = self._last_finish, now
        if all(begun is not step for begun, _, _ in self._in_flight):
            return
        begun, shape, started = self._in_flight.popleft()
        while begun is not step:  # its output never came
            begun, shape, started = self._in_flight.popleft()
        self.add(shape, now - max(started, previous))

    def add(self, shape: StepShape, seconds: float) -> None:
        """Note what a step took; nothing if the clock stood still."""
        if seconds <= 0:
            return
        kind = int(shape.prefill_tokens > 0)
        self.kept[kind, self.seen[kind] % KEPT] = (*shape, seconds)
        self.seen[kind] += 1
        self.refit()

    def refit(self) -> bool:
        """Learn from the newest steps, if there are 64 since that was last done; say so."""
        steps = int(self.seen.sum())
        if steps - self._fitted_at < REFIT:
            return False
        self._fitted_at, model = steps, self.model
        believed = np.array(
            [model.base, model.per_prefill_token, model.per_sequence, model.per_context_token]
        )
        decodes, prefills = (kept[:seen] for kept, seen in zip(self.kept, self.seen, strict=True))
        self.model = LinearLatency(*self._fit(decodes, prefills, believed).tolist())
        return True
