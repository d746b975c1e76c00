"""An adapter for an encoder that is computed by ONNX: added to the weights of its graph.

Graphs that torch exported name each linear layer by its place in the model, and so does an adapter
(LoRA, arXiv 2106.09685): a layer's weights W become W + scale * B A. Quantized weights are
restored, changed, and quantized again with as many bits.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError

Floats = NDArray[np.float32]
_PREFIX = "base_model.model."  # of the names that peft writes
_PRODUCTS = {"MatMul": "/MatMul", "MatMulInteger": "/MatMul_quant"}  # ends of node names
_QUANTIZED = "_quantized"


class Linear(NamedTuple):
    """Where a linear layer's weights are.

    Parameters
    ----------
    place
        In the model: "encoder.layer.0.output.dense".
    tensor
        Name of its weights, shape (in, out).
    """

    place: str
    tensor: str


class Graph:
    """An ONNX graph whose weights can be read and changed.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ModelError
        If `onnx` is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ModelError(
                f"{path}: adapters need onnx: pip install 'slosched[onnx]' ({error})"
            ) from None
        self._model = onnx.load(path)
        self._stored = {tensor.name: tensor for tensor in self._model.graph.initializer}

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._stored)

    def layers(self) -> Iterator[Linear]:
        """Find the linear layers, by the names of their products."""
        for node in self._model.graph.node:
            end = _PRODUCTS.get(node.op_type)
            if end and node.name.endswith(end) and node.input[1] in self._stored:
                place = node.name.removesuffix(end).strip("/").replace("/", ".")
                yield Linear(place, node.input[1])

    def weights(self, name: str) -> Floats:
        """Return a tensor in single precision."""
        stored = self._array(name)
        if not name.endswith(_QUANTIZED):
            return stored.astype(np.float32)
        scale, zero = self._scale(name)
        whole: Floats = (stored.astype(np.float32) - zero.astype(np.float32)) * scale
        return whole

    def change(self, name: str, weights: Floats) -> None:
        """Write other values, in as many steps to either side as there were, of another size."""
        stored = self._array(name)
        if name.endswith(_QUANTIZED):
            scale, zero = self._scale(name)
            centre, bounds = zero.astype(np.int64), np.iinfo(stored.dtype)
            steps = np.abs(stored.astype(np.int64) - centre).max()
            reach = np.abs(weights).max(axis=0 if scale.size > 1 else None)
            step = np.maximum(reach / steps, np.float32(1e-12))
            weights = np.clip(np.round(weights / step) + centre, bounds.min, bounds.max)
            self._put(_beside(name, "_scale"), step)
        self._put(name, weights)

    def serialized(self) -> bytes:
        """Return the graph as a file has it."""
        whole: bytes = self._model.SerializeToString()
        return whole

    def _array(self, name: str) -> NDArray[Any]:
        from onnx.numpy_helper import to_array

        return np.asarray(to_array(self._stored[name]))

    def _scale(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._array(_beside(name, "_scale")), self._array(_beside(name, "_zero_point"))

    def _put(self, name: str, values: NDArray[Any]) -> None:
        from onnx.numpy_helper import from_array

        before = self._array(name)
        made = np.asarray(values, dtype=before.dtype).reshape(before.shape)
        self._stored[name].CopyFrom(from_array(made, name))


def _beside(name: str, end: str) -> str:
    return name.removesuffix(_QUANTIZED) + end


def adapted(path: Path, adapter: Path) -> bytes:
    """Return a graph with an adapter's changes.

    Parameters
    ----------
    adapter
        Folder that peft wrote.

    Raises
    ------
    ModelError
        If the adapter is none for this graph.
    """
    graph = Graph(path)
    layers = {layer.place: layer.tensor for layer in graph.layers()}
    changes = _changes(adapter)
    for place, change in changes.items():
        name = layers.get(place)
        if name is None:
            raise ModelError(f"{adapter}: changes {place}, which {path} does not have")
        weights = graph.weights(name)
        if weights.shape != change.shape:
            raise ModelError(
                f"{adapter}: {place} has shape {change.shape}, in {path} {weights.shape}"
            )
        graph.change(name, weights + change)
    return graph.serialized()


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
