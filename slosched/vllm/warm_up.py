"""Lets a planner compile before the first request waits for it."""

from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.planner import Planner

_SAMPLES = [Request(f"slosched-warm-up-{i}", 0.0, 16, Slo(ttft=1.0)) for i in range(2)]


def warm_up(planner: Planner, limits: EngineLimits, latency: LinearLatency) -> None:
    """Plan for two made-up requests, the second time with one of them running."""
    table = planner.table
    try:
        rows = [planner.add(sample) for sample in _SAMPLES]
        planner.plan(0.0, limits, latency)
        table.admit(rows[0])
        planner.plan(0.0, limits, latency)
    finally:  # straight from the table: no predictor shall learn from these
        for sample in reversed(_SAMPLES):
            if sample.request_id in table:
                table.remove(sample.request_id)
