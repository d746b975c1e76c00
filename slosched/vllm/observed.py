"""The latency model, learned from the engine's own steps while it serves."""

from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from slosched.core.latency import LinearLatency, fit
from slosched.core.types import FloatArray

_KEPT = 256  # of each kind of step
_REFIT = 64
_OUTLIER = 10.0


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
        steps, seconds = observed[:, :3], observed[:, 3]
        # Compilations and page faults are no property of a batch. Measured against the model,
        # not the clock: a long prefill may well take ten times as long as a decode.
        ratio = seconds / self.model.step(steps[:, 0], steps[:, 1], steps[:, 2])  # type: ignore[arg-type]
        usual = ratio <= _OUTLIER * np.median(ratio)
        fitted = fit(steps[usual], seconds[usual])
        unseen = [
            name
            for name, column in zip(StepShape._fields, steps[usual].T, strict=True)
            if not column.any()
        ]
        self.model = replace(fitted, **{_COSTS[n]: getattr(self.model, _COSTS[n]) for n in unseen})


_COSTS = {
    "prefill_tokens": "per_prefill_token",
    "sequences": "per_sequence",
    "context_tokens": "per_context_token",
}
