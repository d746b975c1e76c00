"""Results as tables for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def runs_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Make a row of each run: attainment in all and by class, then latencies."""
    classes = sorted({name for run in runs for name in run["per_class"]})
    table = Table(title=_title(runs))
    table.add_column("load", justify="right")
    table.add_column("policy")
    table.add_column("SLO met", justify="right")
    for name in classes if len(classes) > 1 else []:
        table.add_column(name, justify="right")
    headers = ("goodput/s", "mean TTFT s", "p99 TTFT s", "mean TPOT ms", "mean e2e s", "preempted")
    for header in (*headers, "failed"):
        table.add_column(header, justify="right")
    for i, run in enumerate(runs):
        by_class = [
            _percent(run["per_class"].get(name, {}).get("slo_attainment")) for name in classes
        ]
        table.add_row(
            f"{run['load']:g}",
            run["policy"],
            _percent(run["slo_attainment"]),
            *(by_class if len(classes) > 1 else []),
            f"{run['request_goodput']:.2f}",
            _seconds(run["mean_ttft_ms"]),
            _seconds(run["p99_ttft_ms"]),
            "-" if run["mean_tpot_ms"] is None else f"{run['mean_tpot_ms']:.0f}",
            _seconds(run["mean_e2el_ms"]),
            str(run["preemptions"]),
            str(run["failed"]),
            end_section=i + 1 < len(runs) and runs[i + 1]["load"] != run["load"],
        )
    return table


def plan_table(result: dict[str, Any]) -> Table:
    """Sum an offline plan up."""
    table = Table(title="offline plan", show_header=False)
    table.add_row("requests", str(result["requests"]))
    table.add_row("SLO met", f"{result['attained']} ({_percent(result['slo_attainment'])})")
    bound = result["attained_bound"]
    table.add_row("proven bound", "-" if bound is None else f"{bound} ({result['gap']} above)")
    table.add_row("mean latency", f"{result['mean_e2el_ms'] / 1e3:.2f} s")
    table.add_row("solver", f"{result['solver']}, {result['solve_s']:.2f} s")
    return table


def _title(runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return "no runs"
    served = runs[0]["completed"] + runs[0]["failed"]
    return (
        f"{served} requests, {runs[0]['profile']}, {runs[0]['config']['predictor']['kind']} lengths"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _seconds(ms: float | None) -> str:
    return "-" if ms is None else f"{ms / 1e3:.2f}"
