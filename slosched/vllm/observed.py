"""The latency model, learned from the engine's own steps while it serves."""

from collections import deque
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
        # Steps that were given to the engine: any object for each, its shape, and when.
        self._in_flight: deque[tuple[object, StepShape, float]] = deque()
        # What steps computed and took: the newest, and those of pure decoding, then with prefill.
        self._new: list[tuple[float, ...]] = []
        self._kept = [np.empty((0, len(StepShape._fields) + 1)) for _ in (False, True)]
        self._last_finish = -np.inf

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
        self._new.append((*shape, seconds))
        if len(self._new) >= _REFIT:
            self._keep(np.array(self._new))
            self._new.clear()
            self._refit(np.concatenate(self._kept))

    def _keep(self, steps: FloatArray) -> None:
        prefill = steps[:, 0] > 0
        for kind, same in enumerate((~prefill, prefill)):
            self._kept[kind] = np.concatenate((self._kept[kind], steps[same]))[-_KEPT:]

    def _refit(self, observed: FloatArray) -> None:
        model = self.model
        believed = np.array(
            [model.base, model.per_prefill_token, model.per_sequence, model.per_context_token]
        )
        self.model = LinearLatency(*self._fit(observed, believed).tolist())
