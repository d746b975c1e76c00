"""Says how planning goes, a little at a time: it works inside of the engine's steps."""

from collections import Counter

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
        self._depths: Counter[str] = Counter()

    def step(self, seconds: float) -> None:
        """Note what slosched added to a step."""
        self._steps.append(seconds)
        if len(self._steps) >= _STEPS:
            self._publish_steps()

    def due(self, now: float) -> bool:
        """Whether it is time to publish."""
        return now - self._published_at >= _PERIOD

    def publish(self, now: float) -> None:
        """Publish what the planner has to say, and how many requests wait."""
        self._published_at = now
        self._publish_steps()
        planner, metrics = self._planner, self._metrics
        metrics.plan_failures.inc(planner.failures - self._failures)
        self._failures = planner.failures
        metrics.plan_age_seconds.set(planner.plan_age(now))
        metrics.latency_margin.set(planner.margin.factor)
        for seconds in planner.take_solves():
            metrics.solve_seconds.labels(planner.kind).observe(seconds)
        for event, seconds in planner.take_errors():
            metrics.plan_error_seconds.labels(event).observe(seconds)
        self._count_waiting()

    def _publish_steps(self) -> None:
        for seconds in self._steps:
            self._metrics.step_overhead_seconds.observe(seconds)
        self._steps.clear()

    def _count_waiting(self) -> None:
        table = self._planner.table
        rows = table.live()
        waiting = rows[~table.rows["running"][rows]]
        self._depths = Counter(dict.fromkeys(self._depths, 0))  # a class once seen stays, at 0
        self._depths.update(table.request(row).slo_class for row in waiting.tolist())
        for slo_class, depth in self._depths.items():
            self._metrics.queue_depth.labels(slo_class).set(depth)
