"""Tries a model on answers that it never saw: before the first token, and as they grow."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from slosched.core.types import FloatArray, IntArray
from slosched.predictors.calibration import LEVELS
from slosched.predictors.model import LengthModel
from slosched.training.cuts import Cuts, cut_at
from slosched.training.examples import Example
from slosched.training.metrics import by_length, measure

PLACES = (0, 50, 100, 200, 400)  # tokens that are out


def evaluate(
    model: LengthModel, examples: Sequence[Example], usual: Sequence[int] = ()
) -> dict[str, Any]:
    """Return the metrics of a model: overall, by message, by length, and by tokens that are out.

    Parameters
    ----------
    usual
        Lengths that it was trained on: what a constant would be made of. Those of `examples`
        themselves by default.
    """
    prompts = cut_at(examples, [(i, 0) for i in range(len(examples))])
    quantiles = predicted(model, prompts)
    constant = np.quantile(usual or prompts.left, LEVELS)
    constants = np.minimum(constant, prompts.most[:, None])
    opens = np.array([example.opens for example in examples])
    return {
        "examples": len(examples),
        "prompt_only": asdict(measure(quantiles, prompts.left)),
        "constant": asdict(measure(constants, prompts.left)),
        "by_message": {
            name: asdict(measure(quantiles[inside], prompts.left[inside]))
            for name, inside in (("first", opens), ("later", ~opens))
            if inside.any()
        },
        "by_length": {
            name: asdict(measure(quantiles[inside], prompts.left[inside]))
            for name, inside in by_length(prompts.left)
            if inside.any()
        },
        "by_produced": _by_produced(model, examples),
    }


def _by_produced(model: LengthModel, examples: Sequence[Example]) -> dict[str, Any]:
    """As answers grow: of those that go on, and of all, where nothing is left of who ended."""
    found: dict[str, Any] = {}
    for out in PLACES:
        alive = [i for i, example in enumerate(examples) if example.output_tokens > out]
        if model.description.reads == "prompt" and out:
            break
        if not alive:
            break
        cuts = cut_at(examples, [(i, out) for i in alive])
        metrics = asdict(measure(predicted(model, cuts), cuts.left))
        metrics["rmse_of_all"] = float(metrics["rmse"] * np.sqrt(len(alive) / len(examples)))
        found[str(out)] = metrics
    return found


def predicted(model: LengthModel, cuts: Cuts) -> FloatArray:
    """Tokens to come at each of `LEVELS`, shape (n, levels): at most what there was room for."""
    lengths: IntArray = cuts.input_tokens
    return np.minimum(model.quantiles(cuts.said, lengths.tolist()), cuts.most[:, None])
