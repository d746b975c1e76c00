"""Tables of what length predictors say, and of how good they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

_SHORT = 60  # characters of a prompt
_METRICS = {
    "n": "n",
    "kendall_tau": "Kendall tau",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
    "coverage": "80% interval covers",
}


def predictions_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """One row per text: the tokens that are expected."""
    table = Table(title="output tokens to come")
    for name in ("prompt", "produced", "median", "mean", "80% of the cases"):
        table.add_column(name, justify="left" if name == "prompt" else "right")
    for one in found:
        text = " ".join(one["prompt"].split())
        short = text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
        interval = f"{one['low']:.0f} to {one['high']:.0f}"
        table.add_row(
            short, str(one["produced"]), f"{one['median']:.0f}", f"{one['mean']:.0f}", interval
        )
    return table


def metrics_tables(metrics: Mapping[str, Any]) -> Iterator[Table]:
    """Overall, as answers grow, and by how long they came to be."""
    overall = {"the model, from the prompt": metrics["prompt_only"]}
    if len(metrics["by_message"]) > 1:
        overall |= {f"of {name} messages": m for name, m in metrics["by_message"].items()}
    overall["a constant"] = metrics["constant"]
    yield _table(f"{metrics['examples']} answers", "", overall)
    grown = {f"{out} tokens out": found for out, found in metrics["by_produced"].items()}
    yield _table("as answers grow: those that go on", "", grown)
    yield _table("from the prompt, by length of the answer", "tokens", metrics["by_length"])


def _table(title: str, of: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=title)
    table.add_column(of)
    for name in _METRICS.values():
        table.add_column(name, justify="right")
    for name, found in rows.items():
        table.add_row(name, *(_cell(key, found[key]) for key in _METRICS))
    return table


def _cell(key: str, value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return "-"
    if key == "n":
        return str(value)
    if key == "coverage":
        return f"{100 * value:.1f}%"
    return f"{value:.1f}" if key in ("mae", "rmse") else f"{value:.3f}"
