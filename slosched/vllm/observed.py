"""The latency model, learned from the engine's own steps while it serves."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.types import FloatArray

_KEPT = 256  # of each kind of step
_REFIT = 64


class StepShape(NamedTuple):
    """What one step computes, in the latency model's terms."""

    prefill_tokens: int
    sequences: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class _InFlight:
    step: object
    shape: StepShape
    started: float


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
        from slosched.vllm.fitting import fit  # brings numba

        self._fit = fit
        self._fit(np.ones((4, 4)), np.ones(4))  # compiles it
        self.model = initial
        self._in_flight: deque[_InFlight] = deque()
        # Of pure decoding, then with prefill: what each of the newest steps computed, and took.
        self._steps = np.zeros((2, _KEPT, len(StepShape._fields) + 1))
        self._seen = [0, 0]
        self._last_finish = -np.inf

    def start(self, step: object, shape: StepShape, now: float) -> None:
        """Note that the engine was given a step; any object may stand for it."""
        self._in_flight.append(_InFlight(step, shape, now))

    def finish(self, step: object, now: float) -> None:
        """Note that a step's output is there; steps that were never started do not count."""
        # The engine computes steps one after the other: under asynchronous scheduling, a step
        # handed over early begins only when the one before it is done.
        previous, self._last_finish = self._last_finish, now
        if all(waiting.step is not step for waiting in self._in_flight):
            return
        while (done := self._in_flight.popleft()).step is not step:
            pass  # its output never came
        self._add(done.shape, now - max(done.started, previous))

    def _add(self, shape: StepShape, seconds: float) -> None:
        if seconds <= 0:
            return
        kind = int(shape.prefill_tokens > 0)
        self._steps[kind, self._seen[kind] % _KEPT] = (*shape, seconds)
        self._seen[kind] += 1
        if sum(self._seen) % _REFIT == 0:
            self._refit(self._kept())

    def _kept(self) -> FloatArray:
        pairs = zip(self._steps, self._seen, strict=True)
        return np.concatenate([steps[:seen] for steps, seen in pairs])

    def _refit(self, observed: FloatArray) -> None:
        model = self.model
        believed = np.array(
            [model.base, model.per_prefill_token, model.per_sequence, model.per_context_token]
        )
        self.model = LinearLatency(*self._fit(observed, believed).tolist())
