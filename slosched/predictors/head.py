"""Heads: a few fully connected layers between an embedding and a length, computed by numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.core.types import FloatArray

Floats = NDArray[np.float32]
HeadKind = Literal["regression", "quantile", "classes", "ordinal", "ranking"]
# Tokens between length classes, as SSJF has them (arXiv 2404.08509).
FIVE_CLASSES = (42, 141, 294, 503)
THREE_CLASSES = (141, 503)
MANY_CLASSES = (
    5, 10, 20, 35, 50, 75, 100, 130, 160, 200, 250, 300, 350, 400, 500, 600, 800, 1100, 1500, 2000,
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """Standardised features, fully connected layers with ReLU between them, and what comes out.

    Parameters
    ----------
    kind
        What the last layer says: "regression" a logarithm of tokens, "quantile" one for each
        level, "classes" a logit for each class of lengths, "ordinal" one for each cut between
        them, "ranking" a score, of which only the order counts.
    mean, scale
        Shape (features,), of the features that it was trained on.
    layers
        Weights of shape (out, in), and biases.
    """

    kind: HeadKind
    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    @property
    def features(self) -> int:
        """How many features it wants."""
        return len(self.mean)

    def outputs(self, features: Floats) -> Floats:
        """Compute the last layer, shape (n, outputs)."""
        states: Floats = (features - self.mean) / self.scale
        for weight, bias in self.layers[:-1]:
            states = np.maximum(states @ weight.T + bias, np.float32(0))
        weight, bias = self.layers[-1]
        made: Floats = states @ weight.T + bias
        return made

    def scores(self, outputs: Floats) -> FloatArray:
        """Return one number for each request, the greater the longer its answer."""
        return score(self.kind, outputs)

    def tensors(self) -> dict[str, Floats]:
        """Return what a file keeps of it, by name."""
        found = {"head.mean": self.mean, "head.scale": self.scale}
        for i, (weight, bias) in enumerate(self.layers):
            found |= {f"head.{i}.weight": weight, f"head.{i}.bias": bias}
        return found


def score(kind: HeadKind, outputs: Floats) -> FloatArray:
    """Sum up a head's outputs, shape (n, k), in one number each: the greater the longer."""
    wide = outputs.astype(np.float64)
    if kind == "classes":
        likely = np.exp(wide - wide.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        expected: FloatArray = likely @ np.arange(wide.shape[1])
        return expected
    if kind == "ordinal":
        passed: FloatArray = (1 / (1 + np.exp(-np.clip(wide, -50, 50)))).sum(axis=1)
        return passed
    if kind == "quantile":
        middle: FloatArray = np.sort(wide, axis=1)[:, wide.shape[1] // 2]
        return middle
    return wide[:, 0]


def head_from(kind: HeadKind, tensors: Mapping[str, Floats]) -> Head:
    """Build a head from a file's tensors; ModelError if they do not fit together."""
    try:
        mean, scale = tensors["head.mean"], tensors["head.scale"]
        layers: list[tuple[Floats, Floats]] = []
        width = len(mean)
        while f"head.{len(layers)}.weight" in tensors:
            name = f"head.{len(layers)}"
            weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            if weight.shape != (len(bias), width):
                raise ModelError(
                    f"{name}.weight must have shape {(len(bias), width)}, has {weight.shape}"
                )
            layers.append((weight.astype(np.float32), bias.astype(np.float32)))
            width = len(bias)
    except KeyError as error:
        raise ModelError(f"the tensor {error.args[0]} is missing") from None
    if not layers:
        raise ModelError("the tensor head.0.weight is missing")
    return Head(kind, mean.astype(np.float32), scale.astype(np.float32), tuple(layers))
