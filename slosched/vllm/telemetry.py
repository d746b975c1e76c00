"""Says how planning goes, a little at a time: it works inside of the engine's steps."""

from math import isnan

import numpy as np

from slosched.core.types import IntArray
from slosched.planner import Planner
from slosched.vllm.metrics import EngineMetrics

_PERIOD = 1.0  # s; nobody scrapes more often
_STEPS = 16  # whose times are handed over together, as the first of them takes longest


class Telemetry:
    """Publishes one planner's state."""

    def __init__(self, planner: Planner, metrics: EngineMetrics) -> None:
        self._planner = planner
        self._metrics = metrics
        self._failures = 0
        self._published_at = -_PERIOD
        self._steps: list[float] = []
        self._errors: list[float] = []  # of first guesses, tokens
        self._classes: dict[str, int] = {}
        self._class_of: IntArray = np.zeros(len(planner.table.rows), dtype=np.int64)  # by row

    def entered(self, row: int, slo_class: str) -> None:
        """Note of which class the request in a row is."""
        capacity = len(self._planner.table.rows)
        if capacity > len(self._class_of):
            self._class_of = np.resize(self._class_of, capacity)
        self._class_of[row] = self._classes.setdefault(slo_class, len(self._classes))

    def ended(self, row: int, output_tokens: int) -> None:
        """Note how long the answer of the request in a row came to be."""
        guess = float(self._planner.table.rows["first_guess"][row])
        if not isnan(guess):  # it was over before anybody predicted it
            self._errors.append(abs(guess - output_tokens))

    def step(self, seconds: float) -> None:
        """Note what slosched added to a step."""
        self._steps.append(seconds)
        if len(self._steps) >= _STEPS:
            self._publish_times()

    def due(self, now: float) -> bool:
        """Whether it is time to publish."""
        return now - self._published_at >= _PERIOD

    def publish(self, now: float) -> None:
        """Publish what the planner has to say, and how many requests wait."""
        self._published_at = now
        self._publish_times()
        planner, metrics = self._planner, self._metrics
        metrics.plan_failures.inc(planner.failures - self._failures)
        self._failures = planner.failures
        metrics.plan_age_seconds.set(planner.plan_age(now))
        metrics.latency_margin.set(planner.margin.factor)
        rows = planner.table.live()
        waiting = rows[~planner.table.rows["running"][rows]]
        depths = np.bincount(self._class_of[waiting], minlength=len(self._classes)).tolist()
        for slo_class, depth in zip(self._classes, depths, strict=True):
            metrics.queue_depth.labels(slo_class).set(depth)

    def _publish_times(self) -> None:
        metrics = self._metrics
        for seconds in self._steps:
            metrics.step_overhead_seconds.observe(seconds)
        self._steps.clear()
        for tokens in self._errors:
            metrics.prediction_error_tokens.observe(tokens)
        self._errors.clear()
        for seconds in self._planner.take_solves():
            metrics.solve_seconds.labels(self._planner.kind).observe(seconds)
        for seconds in self._planner.take_predictions():
            metrics.prediction_seconds.observe(seconds)
        for event, seconds in self._planner.take_errors():
            metrics.plan_error_seconds.labels(event).observe(seconds)
