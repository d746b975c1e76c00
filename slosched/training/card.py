"""The card of a model: what it was trained on, how, and how good it is, for people."""

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slosched.predictors.folder import Description
from slosched.training.examples import SHARES, Split
from slosched.training.options import TrainOptions
from slosched.version import __version__

if TYPE_CHECKING:
    from slosched.training.train import Setup

_LIBRARIES = ("numpy", "torch", "transformers", "onnxruntime", "safetensors")
_COLUMNS = ("n", "kendall_tau", "mae", "rmse", "r2", "coverage")


def card(
    description: Description,
    options: TrainOptions,
    setup: "Setup",
    parts: Split,
    metrics: dict[str, Any],
) -> str:
    """Write the card, in Markdown."""
    rows = [("prompt alone", metrics["prompt_only"]), ("a constant", metrics["constant"])]
    rows += [(f"{name} messages", found) for name, found in metrics["by_message"].items()]
    rows += [(f"{out} tokens out", found) for out, found in metrics["by_produced"].items()]
    rows += [(f"answers of {name} tokens", found) for name, found in metrics["by_length"].items()]
    settings = "\n".join(f"- {name}: {value}" for name, value in asdict(options).items())
    counts = ", ".join(f"{len(getattr(parts, name))} to {name}" for name in SHARES)
    return f"""# Length predictor for {description.encoder}

Expects the output tokens that a request still has to produce, as quantiles. Of use to slosched:
`predictor: {{kind: encoder, model: FOLDER}}`.

## Data

{setup.data}.
Requests by what they were for, those of one conversation or prompt together, seed {options.seed}:
{counts}.

## On answers that it never saw

{_table(rows)}

Errors in tokens: `mae` of medians, `rmse` and `r2` of means; `coverage` of the interval from the
10% to the 90% quantile.

## Training

{settings}

## Versions

slosched {__version__}, Python {platform.python_version()}, {_versions()}.
"""


def _table(rows: list[tuple[str, dict[str, Any]]]) -> str:
    lines = [f"| of | {' | '.join(_COLUMNS)} |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for name, found in rows:
        figures = " | ".join(f"{found[c]:.3g}" if c != "n" else str(found[c]) for c in _COLUMNS)
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines)


def _versions() -> str:
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
