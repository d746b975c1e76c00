"""A search for parameters as tables, and in words."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

SAYS = {
    "better": "better on requests that the search did not see",
    "unsure": "perhaps better: on requests that the search did not see, chance may do as much",
    "no better": "no better on requests that the search did not see",
}  # fmt: skip


def parameters_table(result: dict[str, Any]) -> Table:
    """Make a row of each parameter: as it is, at its best, and what it matters.

    Parameters
    ----------
    result
        As `tune --format json` has it.
    """
    table = Table(title=f"{len(result['trials'])} trials, policy {result['policy']}")
    for header in ("parameter", "now", "best found", "importance"):
        table.add_column(header, justify="left" if header == "parameter" else "right")
    for path, one in result["parameters"].items():
        share = one["importance"]
        told = "-" if share is None else f"{100 * share:.0f}%"
        table.add_row(path, _value(one["now"]), _value(one["tuned"]), told)
    return table


def outcome_table(result: dict[str, Any]) -> Table:
    """Make a row of each part and load: attainment by weight, in all and by class."""
    held_out = result["held_out"]["runs"] if result["held_out"] else []
    classes = sorted({name for run in held_out for name in run["now"]["per_class"]})
    table = Table(title="SLOs met, by weight; of classes, by number")
    for header in ("part", "requests", "load", "", "all", *classes):
        table.add_column(header, justify="left" if header == "part" else "right")
    for which in ("now", "tuned"):
        share = _percent(result["train"][which])
        of_classes = [""] * len(classes)
        table.add_row(
            "searched", str(result["requests"]["train"]), "mean", which, share, *of_classes
        )
    for run in held_out:
        table.add_section()
        for which in ("now", "tuned"):
            figures = run[which]
            by_class = (_of_class(figures, name) for name in classes)
            table.add_row(
                "held out", str(result["requests"]["held_out"]), f"{run['load']:g}", which,
                _percent(figures["weighted_attainment"]), *by_class,
            )  # fmt: skip
    return table


def conclusions(result: dict[str, Any]) -> Iterator[str]:
    """Say what the search is worth, a line each; also as comments of a tuned configuration."""
    if not result["best"]:
        yield f"no trial of {len(result['trials'])} was better than the configuration as it is"
        return
    if result["only_searched"]:
        missing = ", ".join(result["only_searched"])
        yield f"note: no request that is held out is of class {missing}: take more of the trace"
    gained = result["train"]["tuned"] - result["train"]["now"]
    yield (
        f"searched: {100 * gained:+.1f} points, from {_percent(result['train']['now'])} to "
        f"{_percent(result['train']['tuned'])}, which flatters, as the best of "
        f"{len(result['trials'])} trials is chosen by it"
    )
    held_out = result["held_out"]
    if held_out is None:
        yield "held out: not compared, as there was no time"
    else:
        yield (
            f"held out: {100 * held_out['difference']:+.1f} points, 95% from "
            f"{100 * held_out['low']:+.1f} to {100 * held_out['high']:+.1f} "
            "(paired block bootstrap)"
        )
        yield SAYS[held_out["verdict"]]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_class(figures: dict[str, Any], name: str) -> str:
    of_class = figures["per_class"].get(name)
    return "-" if of_class is None else _percent(of_class["slo_attainment"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
