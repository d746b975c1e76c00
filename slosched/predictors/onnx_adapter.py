"""An adapter for an encoder that is computed by ONNX: added to the weights of its graph.

It names each linear layer by its place in the model (LoRA, arXiv 2106.09685): a layer's weights W
become W + scale * B A.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.predictors.onnx_graph import Graph

Floats = NDArray[np.float32]
_PREFIX = "base_model.model."  # of the names that peft writes


def adapt(graph: Graph, adapter: Path) -> None:
    """Change a graph's weights.

    Parameters
    ----------
    adapter
        Folder that peft wrote.

    Raises
    ------
    ModelError
        If the adapter is none for this graph.
    """
    layers = {layer.place: layer.tensor for layer in graph.layers()}
    changes = _changes(adapter)
    for place, change in changes.items():
        name = layers.get(place)
        if name is None:
            raise ModelError(f"{adapter}: changes {place}, which {graph.path} does not have")
        weights = graph.weights(name)
        if weights.shape != change.shape:
            raise ModelError(
                f"{adapter}: {place} has shape {change.shape}, in {graph.path} {weights.shape}"
            )
        graph.change(name, weights + change)


def _changes(adapter: Path) -> Mapping[str, Floats]:
    """Return what is added to each layer's weights, shape (in, out)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        config = json.loads((adapter / "adapter_config.json").read_text())
        tensors = load_file(adapter / "adapter_model.safetensors")
        scale = float(config["lora_alpha"]) / float(config["r"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{adapter}: no adapter: {error}") from None
    found = {}
    for name, down in tensors.items():
        place, is_down, _ = name.removeprefix(_PREFIX).partition(".lora_A.weight")
        if is_down:
            up = tensors[name.replace(".lora_A.", ".lora_B.")]
            found[place] = (scale * up.astype(np.float32) @ down.astype(np.float32)).T
    return found
