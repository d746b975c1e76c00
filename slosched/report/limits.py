"""What a class asks for, in words."""

from math import isfinite, isnan

from slosched.report.runs import Run
from slosched.report.words import duration

METRICS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}


def asked(run: Run, slo_class: str) -> str:
    """Return a class's limits, as its requests have them or else the configuration; "" for none."""
    requests = run.requests
    told = requests is not None and slo_class in requests.members
    limits = {
        metric: requests.limit(metric, slo_class)
        if told and requests
        else run.result.limit(slo_class, metric)
        for metric in METRICS
    }
    return ", ".join(
        f"{METRICS[metric]} {'as each asks' if isnan(limit) else duration(limit)}"
        for metric, limit in limits.items()
        if isnan(limit) or isfinite(limit)
    )
