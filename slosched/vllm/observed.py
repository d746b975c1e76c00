"""The latency model, learned from the engine's own steps while it serves."""

from collections import deque
from typing import NamedTuple

import numpy as np

from slosched.core.latency import LinearLatency

_KEPT = 256  # of each kind of step
_REFIT = 64


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
    """

    def __init__(self, initial: LinearLatency) -> None:
        from slosched.vllm.fitting import fit_both  # brings numba

        self._fit = fit_both
        self.model = initial
        # Steps that were given to the engine: any object for each, its shape, and when.
        self._in_flight: deque[tuple[object, StepShape, float]] = deque()
        # What the newest steps computed and took: those of pure decoding, then with prefill.
        self._kept = np.ones((2, _KEPT, len(StepShape._fields) + 1))
        self._seen = [0, 0]  # of each, so far
        self._last_finish = -np.inf
        self._fit(*self._kept, np.ones(4))  # compiles it

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
        self._add(shape, now - max(started, previous))

    def _add(self, shape: StepShape, seconds: float) -> None:
        if seconds <= 0:
            return
        kind = int(shape.prefill_tokens > 0)
        self._kept[kind, self._seen[kind] % _KEPT] = (*shape, seconds)
        self._seen[kind] += 1
        if sum(self._seen) % _REFIT == 0:
            self._refit()

    def _refit(self) -> None:
        model = self.model
        believed = np.array(
            [model.base, model.per_prefill_token, model.per_sequence, model.per_context_token]
        )
        decodes, prefills = (kept[:seen] for kept, seen in zip(self._kept, self._seen, strict=True))
        self.model = LinearLatency(*self._fit(decodes, prefills, believed).tolist())
