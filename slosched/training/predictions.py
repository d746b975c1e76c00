"""What a model says of some texts, for people."""

from collections.abc import Sequence
from typing import Any

from slosched.core.transcript import Said
from slosched.predictors.calibration import at_level
from slosched.predictors.model import LengthModel
from slosched.training.metrics import means

_SHOWN = {"low": 0.1, "median": 0.5, "high": 0.9}


def predictions(model: LengthModel, said: Sequence[Said]) -> list[dict[str, Any]]:
    """Return for each text the tokens to come: mean, median and the 80% interval."""
    lengths = model.encoder.count([one.prompt for one in said])
    quantiles = model.quantiles(said, lengths)
    columns = {name: at_level(quantiles, level) for name, level in _SHOWN.items()}
    columns["mean"] = means(quantiles)
    return [
        {
            "prompt": one.prompt,
            "produced": one.produced,
            **{name: round(float(values[i]), 1) for name, values in columns.items()},
        }
        for i, one in enumerate(said)
    ]
