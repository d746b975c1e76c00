"""A head as torch trains it, and as numpy computes it later."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slosched.predictors.head import Head
from slosched.training.losses import outputs
from slosched.training.options import TrainOptions

Floats = NDArray[np.float32]


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

    def head(self) -> Head:
        """Return the same for numpy."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        layers = tuple((_plain(layer.weight), _plain(layer.bias)) for layer in linear)
        return Head(self.kind, _plain(self.mean), _plain(self.scale), layers)


def _plain(tensor: Any) -> Floats:
    made: Floats = tensor.detach().float().cpu().numpy().copy()
    return made
