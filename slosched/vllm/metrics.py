"""What the engine process tells Prometheus.

vLLM's server shows these on its `/metrics` if `PROMETHEUS_MULTIPROC_DIR` named a fresh
directory before any process of it started, which `slosched.vllm.launch` sees to.
"""

from dataclasses import dataclass
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

# 10 us to 1 s: from one pass over a short queue to a solver that took its time.
_SECONDS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_LATE = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_EITHER_SIDE = (*(-seconds for seconds in reversed(_LATE)), 0.0, *_LATE)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """The metrics of one engine process."""

    solve_seconds: Histogram
    step_overhead_seconds: Histogram
    plan_age_seconds: Gauge
    plan_error_seconds: Histogram
    latency_margin: Gauge
    queue_depth: Gauge
    prediction_error_tokens: Histogram
    prediction_seconds: Histogram
    plan_failures: Counter
    config_reloads: Counter


@cache  # Prometheus refuses a second metric of the same name in one process
def engine_metrics() -> EngineMetrics:
    """Return the metrics of this process, made on the first call."""
    return EngineMetrics(
        solve_seconds=Histogram(
            "slosched_solve_seconds", "Time to make one plan", ["solver"], buckets=_SECONDS
        ),
        step_overhead_seconds=Histogram(
            "slosched_step_overhead_seconds",
            "Time that slosched adds to one engine step",
            buckets=_SECONDS,
        ),
        plan_age_seconds=Gauge(
            "slosched_plan_age_seconds",
            "Time since the state that the plan in force was made for",
            multiprocess_mode="livemax",
        ),
        plan_error_seconds=Histogram(
            "slosched_plan_error_seconds",
            "How much later than planned first tokens and finishes came",
            ["event"],
            buckets=_EITHER_SIDE,
        ),
        latency_margin=Gauge(
            "slosched_latency_margin",
            "Factor by which plans take steps to be longer than the latency model has them",
            multiprocess_mode="livemax",
        ),
        queue_depth=Gauge(
            "slosched_queue_depth",
            "Requests that wait in the engine",
            ["slo_class"],
            multiprocess_mode="livesum",
        ),
        prediction_error_tokens=Histogram(
            "slosched_prediction_error_tokens",
            "Distance of the length first predicted from the true one",
            buckets=_TOKENS,
        ),
        prediction_seconds=Histogram(
            "slosched_prediction_seconds",
            "Time that a predictor in its own thread took to read one request",
            buckets=_SECONDS,
        ),
        plan_failures=Counter(
            "slosched_plan_failures", "Errors of policy, predictor or hook that were survived"
        ),
        config_reloads=Counter(
            "slosched_config_reloads",
            "Edits of the configuration, by whether they are in force",
            ["outcome"],
        ),
    )
