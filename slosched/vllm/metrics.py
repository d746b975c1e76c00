"""What the engine process tells Prometheus.

vLLM's server shows these on its `/metrics` if `PROMETHEUS_MULTIPROC_DIR` named a fresh
directory before any process of it started, which `slosched.vllm.launch` sees to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

# 10 us to 1 s: from one pass over a short queue to a solver that hangs the step.
_SECONDS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """The metrics of one engine process."""

    solve_seconds: Histogram
    step_overhead_seconds: Histogram
    plan_age_seconds: Gauge
    queue_depth: Gauge
    prediction_error_tokens: Histogram
    plan_failures: Counter

    def set_queue_depth(self, depths: Mapping[str, int]) -> None:
        """Publish how many requests wait, by class."""
        for slo_class, depth in depths.items():
            self.queue_depth.labels(slo_class).set(depth)


@cache  # Prometheus refuses a second metric of the same name in one process
def engine_metrics() -> EngineMetrics:
    """Return the metrics of this process, made on the first call."""
    return EngineMetrics(
        Histogram("slosched_solve_seconds", "Time to make one plan", ["solver"], buckets=_SECONDS),
        Histogram(
            "slosched_step_overhead_seconds",
            "Time that slosched adds to one engine step",
            buckets=_SECONDS,
        ),
        Gauge(
            "slosched_plan_age_seconds",
            "Age of the plan in force at the newest step",
            multiprocess_mode="livemax",
        ),
        Gauge(
            "slosched_queue_depth",
            "Requests that wait in the engine",
            ["slo_class"],
            multiprocess_mode="livesum",
        ),
        Histogram(
            "slosched_prediction_error_tokens",
            "Distance of the length predicted at arrival from the true one",
            buckets=_TOKENS,
        ),
        Counter(
            "slosched_plan_failures",
            "Steps that went on without a new plan because planning raised",
        ),
    )
