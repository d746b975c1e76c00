"""Results as tables for a terminal."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from rich.table import Table

from slosched.report.words import percent as _percent
from slosched.report.words import seconds as _seconds


class _Column(NamedTuple):
    header: str
    cell: Callable[[dict[str, Any]], object]


def runs_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Make a row of each run: its place in the grid, attainment in all and by class, latencies."""
    classes = sorted({name for run in runs for name in run["per_class"]})
    columns = [
        _Column("load", lambda run: f"{run['load']:g}"),
        *(_of_cell(path) for path in _dimensions(runs)),
        _Column("policy", _policy),
        _Column("SLO met", lambda run: _percent(run["slo_attainment"])),
        *(_of_class(name) for name in classes if len(classes) > 1),
        _Column("goodput/s", lambda run: f"{run['request_goodput']:.2f}"),
        _Column("mean TTFT s", lambda run: _seconds(run["mean_ttft_ms"])),
        _Column("p99 TTFT s", lambda run: _seconds(run["p99_ttft_ms"])),
        _Column("mean e2e s", lambda run: _seconds(run["mean_e2el_ms"])),
    ]
    columns.extend(
        _count(count)
        for count in ("preemptions", "failed", "shed", "unfinished", "unsent", "plan_failures")
        if any(run.get(count) for run in runs)
    )
    table = Table(title=_title(runs))
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.header == "policy" else "right"
        table.add_column(column.header, justify=justify, no_wrap=column.header == "policy")
    for run, following in zip_longest(runs, runs[1:]):
        ends = following is not None and _beside_policy(following) != _beside_policy(run)
        table.add_row(*(str(column.cell(run)) for column in columns), end_section=ends)
    return table


def plan_table(result: dict[str, Any]) -> Table:
    """Sum an offline plan up."""
    table = Table(title="offline plan", show_header=False)
    table.add_row("requests", str(result["requests"]))
    table.add_row("SLO met", f"{result['attained']} ({_percent(result['slo_attainment'])})")
    table.add_row("weight of these", f"{result['attained_weight']:g}")
    bound = result["attained_bound"]
    above = "-" if bound is None else f"{bound:g} ({result['gap']:g} above)"
    table.add_row("proven bound, without preemption", above)
    table.add_row("mean latency", f"{_seconds(result['mean_e2el_ms'])} s")
    table.add_row("solver", f"{result['solver']}, {result['solve_s']:.2f} s")
    return table


def profile_table(profile: dict[str, Any]) -> Table:
    """Show a latency profile: what it says of the engine, and how far off it is by regime."""
    table = Table(title="latency profile", show_header=False)
    for name, value in profile.items():
        if name.endswith("_ms"):
            table.add_row(name, f"{value:g}")
    sources = profile.get("engine_known_from", {})
    for name, value in profile.get("engine", {}).items():
        table.add_row(name, f"{value} ({sources.get(name, 'given')})")
    for regime, error in profile["relative_error"].items():
        off = f"{_percent(error['median'])}, 90% within {_percent(error['p90'])}"
        bias = (
            f"model {abs(100 * error['bias']):.1f}% too {'slow' if error['bias'] > 0 else 'fast'}"
        )
        table.add_row(f"error, {regime}", f"{off}, {bias} ({error['measurements']} measurements)")
    if "detail" in profile:
        table.add_row("error in detail", profile["detail"]["error"])
    return table


def cases_table(cases: Sequence[dict[str, Any]]) -> Table:
    """Hold a latency model against what was measured, a row for each kind of measurement."""
    table = Table(title="measured, and as the model has it")
    for header in ("regime", "of what", "times", "measured ms", "model ms", "error"):
        left = header in ("regime", "of what")
        table.add_column(header, justify="left" if left else "right", no_wrap=True)
    for case, following in zip_longest(cases, cases[1:]):
        table.add_row(
            case["regime"], case["what"], str(case["measurements"]), f"{case['measured_ms']:.1f}",
            f"{case['modelled_ms']:.1f}", f"{100 * case['error']:+.1f}%",
            end_section=following is not None and following["regime"] != case["regime"],
        )  # fmt: skip
    return table


def _of_class(name: str) -> _Column:
    return _Column(name, lambda run: _percent(run["per_class"].get(name, {}).get("slo_attainment")))


def _of_cell(path: str) -> _Column:
    return _Column(path, lambda run: _value(run["cell"][path]))


def _value(value: object) -> str:
    """Write a value of a grid; of a part that has but a kind, that."""
    if isinstance(value, dict) and list(value) == ["kind"]:
        return str(value["kind"])
    return str(value)


def _dimensions(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Name the settings that a grid varies, beside load and policy, which are always there."""
    paths = dict.fromkeys(path for run in runs for path in run.get("cell", {}))
    return [path for path in paths if path not in ("load", "policy")]


def _beside_policy(run: dict[str, Any]) -> list[object]:
    return [value for path, value in run.get("cell", {}).items() if path != "policy"]


def _policy(run: dict[str, Any]) -> str:
    """Write the kind, and what a grid says of the policy besides."""
    policy = run.get("cell", {}).get("policy")
    own = policy.items() if isinstance(policy, dict) else ()
    return " ".join([str(run["policy"]), *(f"{k}={v}" for k, v in own if k != "kind")])


def _count(name: str) -> _Column:
    return _Column(name, lambda run: run.get(name, "-"))


def _title(runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return "no runs"
    run = runs[0]
    if "num_prompts" in run:  # of a live server
        return f"{run['num_prompts']} requests, {run['model_id']}"
    served = run["completed"] + run["failed"]
    profiles = ", ".join(dict.fromkeys(run["profile"] for run in runs))
    lengths = ", ".join(dict.fromkeys(run["config"]["predictor"]["kind"] for run in runs))
    return f"{served} requests, {profiles}, {lengths} lengths"
