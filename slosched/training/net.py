"""A head as torch trains it, and as numpy computes it later."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slosched.predictors.head import Head
from slosched.predictors.model import NUMBERS
from slosched.training.losses import outputs
from slosched.training.options import TrainOptions

Floats = NDArray[np.float32]
_CONSTANT = 1e-6


class HeadNet(nn.Module):
    """Fully connected layers with ReLU and dropout between them.

    Parameters
    ----------
    mean, scale
        Shape (features,): what features are standardised by.
    """

    def __init__(self, options: TrainOptions, mean: Floats, scale: Floats) -> None:
        super().__init__()
        self.kind = options.head
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        layers: list[nn.Module] = []
        width = len(mean)
        for hidden in options.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(options.dropout)]
            width = hidden
        layers.append(nn.Linear(width, outputs(options)))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the outputs, shape (n, outputs)."""
        made: Tensor = self.layers((features - self.mean) / self.scale)
        return made

    def go_on_from(self, head: Head) -> None:
        """Begin with the weights of a head of the same shape."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, (weight, bias) in zip(linear, head.layers, strict=True):
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))

    def head(self) -> Head:
        """Return the same for numpy."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        layers = tuple((_plain(layer.weight), _plain(layer.bias)) for layer in linear)
        return Head(self.kind, _plain(self.mean), _plain(self.scale), layers)


def standard(features: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each feature, shape (features,); 1 for those that are constant."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    return mean.astype(np.float32), np.where(scale > _CONSTANT, scale, 1.0).astype(np.float32)


def widened(head: Head, features: Floats, known: int) -> Head:
    """Let a head see more: what is added changes nothing, until it is trained on it.

    Parameters
    ----------
    head
        Of embeddings of prompts, then of `NUMBERS` features.
    features
        Shape (n, features): what it is to see; the first `known` are the prompts' embeddings.
    """
    mean, scale = standard(features)
    (weight, bias), *others = head.layers
    seen = np.r_[np.arange(known), np.arange(len(mean) - NUMBERS, len(mean))]
    wide = np.zeros((len(bias), len(mean)), dtype=np.float32)
    varied = (head.mean != 0) | (head.scale != 1)  # the others were the same wherever it learned
    varied[:known] = True
    mean[seen] = np.where(varied, head.mean, mean[seen])
    scale[seen] = np.where(varied, head.scale, scale[seen])
    wide[:, seen] = np.where(varied, weight, 0.0)
    return Head(head.kind, mean, scale, ((wide, bias), *others))


def _plain(tensor: Any) -> Floats:
    made: Floats = tensor.detach().float().cpu().numpy().copy()
    return made
