"""What the front end measures, by SLO class; never by tenant or request, whose number is open."""

import platform
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from starlette.types import Scope

from slosched.core.errors import SloschedError
from slosched.version import __version__
from slosched_server.limits import broken_limits
from slosched_server.refusals import AccessError
from slosched_server.upstream import Job

# Stands in for the class of a request that was refused before it had one.
NO_CLASS = "unknown"

_TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
_TPOT_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
_E2E_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The metrics of one front end, in a registry of its own or the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        Info("slosched_build", "What runs.", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        # Found once for each set of labels, of which there are few: finding costs as counting does.
        self._requests = cache(
            Counter(
                "slosched_requests",
                "Requests by end: finished, rejected, shed, failed, cancelled by the client.",
                ("slo_class", "outcome"),
                registry=registry,
            ).labels
        )
        self._violations = cache(
            Counter(
                "slosched_request_slo_violation",
                "Limits that were not kept, by type: ttft, tpot, e2e.",
                ("slo_class", "type"),
                registry=registry,
            ).labels
        )
        self._attained = cache(
            Counter(
                "slosched_requests_attained",
                "Requests that finished with all their limits kept.",
                ("slo_class",),
                registry=registry,
            ).labels
        )
        self._downgrades = Counter(
            "slosched_requests_downgraded",
            "Requests served as another class than they asked for.",
            ("slo_class", "served_as"),
            registry=registry,
        )
        self._refusals = Counter(
            "slosched_access_refused",
            "Requests refused for who sent them, by what that client may not: key, class, rate, "
            "tag.",
            ("reason",),
            registry=registry,
        )
        self._latencies = {
            name: cache(
                Histogram(
                    f"slosched_request_{name}_seconds",
                    text,
                    ("slo_class",),
                    buckets=buckets,
                    registry=registry,
                ).labels
            )
            for name, text, buckets in (
                ("ttft", "Arrival to first token, of streamed answers.", _TTFT_S),
                ("tpot", "Time per token after the first, of streamed answers.", _TPOT_S),
                ("e2e", "Arrival to the end of the answer.", _E2E_S),
                ("queue", "Waited in the front end's queue.", _TTFT_S),
            )
        }

    def begin(self, job: Job, scope: Scope) -> None:
        """Count nothing yet."""

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """Count a request that was refused before it had a class."""
        del scope, request_id
        self._requests(NO_CLASS, "rejected").inc()
        if isinstance(error, AccessError):
            self._refusals.labels(error.reason).inc()

    def end(self, job: Job, now: float) -> None:
        """Count a request that ended at `now`, in seconds of the clock of its arrival.

        It counts as what it was served as.
        """
        slo_class, progress = job.tag.slo_class, job.progress
        if job.asked:
            self._downgrades.labels(job.asked, slo_class).inc()
        self._requests(slo_class, progress.outcome).inc()
        attained = self._attained(slo_class)  # is there from now on, be it 0
        if progress.outcome not in ("finished", "cancelled"):
            return
        e2e = now - progress.arrival
        if progress.outcome == "finished":
            self._observe(
                slo_class,
                {
                    "ttft": progress.ttft,
                    "tpot": progress.tpot,
                    "e2e": e2e,
                    "queue": progress.queued,
                },
            )
        broken = broken_limits(job, now)
        for name in broken:
            self._violations(slo_class, name).inc()
        if progress.outcome == "finished" and not broken:
            attained.inc()

    def _observe(self, slo_class: str, seconds: dict[str, float | None]) -> None:
        for name, value in seconds.items():
            if value is not None:
                self._latencies[name](slo_class).observe(value)
