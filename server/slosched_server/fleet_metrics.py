"""What the queue before several replicas counts for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from slosched.dispatch import Dispatcher, FleetSolved
from slosched_server.fleet_state import FleetState

# The same as of the engine's metrics of these names.
_SECONDS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class FleetMetrics:
    """Counts what happens in one queue.

    Parameters
    ----------
    registry
        Where the metrics live.
    dispatcher
        Whose state is shown beside them.
    """

    def __init__(self, registry: CollectorRegistry, dispatcher: Dispatcher) -> None:
        self._solves = Histogram(
            "slosched_solve_seconds", "Time to make one plan.", ("solver",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._errors = Histogram(
            "slosched_prediction_error_tokens",
            "Distance of the length first predicted from the true one.",
            buckets=_TOKENS,
            registry=registry,
        )
        self._failures = Counter(
            "slosched_plan_failures",
            "Errors of solver or predictor that were survived.",
            registry=registry,
        )
        self._retries = Counter(
            "slosched_retries",
            "Requests sent to another replica: connection, or the status of the first.",
            ("reason",),
            registry=registry,
        )
        registry.register(FleetState(dispatcher))

    def planned(self, solved: FleetSolved) -> None:
        """Note that a plan was made, or was to be."""
        solver = solved.job.solver
        kind: str = getattr(solver, "kind", type(solver).__name__)
        self._solves.labels(kind).observe(solved.seconds)

    def failed(self) -> None:
        """Count an error that was survived."""
        self._failures.inc()

    def retried(self, reason: str) -> None:
        """Count a request that goes to another replica."""
        self._retries.labels(reason).inc()

    def completed(self, guess: float | None, output_tokens: int) -> None:
        """Hold an answer's length against what was first predicted, if anything was."""
        if guess is not None:
            self._errors.observe(abs(guess - output_tokens))
