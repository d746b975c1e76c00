"""An encoder's ONNX graph, as torch exported it: its weights changed, its last layers left out.

Such graphs name each operation by its place in the model. Quantized weights are restored, changed,
and quantized again with as many bits.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError

Floats = NDArray[np.float32]
_PRODUCTS = {"MatMul": "/MatMul", "MatMulInteger": "/MatMul_quant"}  # ends of node names
_QUANTIZED = "_quantized"
_LAYER = re.compile(r"(?<=/layer\.)\d+(?=/)")


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
        If `onnx` is not installed, or the file is no graph.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ModelError(
                f"{path}: to change it takes onnx: pip install 'slosched[onnx]' ({error})"
            ) from None
        self.path = path
        try:
            self._take(onnx.load(path))
        except Exception as error:
            raise ModelError(f"{path}: no ONNX graph: {error}") from error

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

    def keep(self, layers: int) -> None:
        """Leave out all layers but the first ones; what these say becomes the output.

        Raises
        ------
        ModelError
            If there are fewer, or they are not to be told apart.
        """
        from onnx.helper import make_tensor_value_info
        from onnx.utils import Extractor

        graph = self._model.graph
        last = next(n for n in reversed(graph.node) if graph.output[0].name in n.output)
        found = _LAYER.search(last.name)
        if found is None:
            raise ModelError(f"{self.path}: has no numbered layers, layers must be 0")
        if layers > int(found[0]) + 1:
            raise ModelError(f"{self.path}: layers must be at most {int(found[0]) + 1}")
        name = _LAYER.sub(str(layers - 1), last.name)
        [said] = (node.output[0] for node in graph.node if node.name == name)
        whole = graph.output[0].type.tensor_type
        shape = [size.dim_param or size.dim_value for size in whole.shape.dim]
        if said != graph.output[0].name:
            graph.value_info.append(make_tensor_value_info(said, whole.elem_type, shape))
        given = [wanted.name for wanted in graph.input]
        self._take(Extractor(self._model).extract_model(given, [said]))

    def serialized(self) -> bytes:
        """Return the graph as a file has it."""
        whole: bytes = self._model.SerializeToString()
        return whole

    def _take(self, model: Any) -> None:  # noqa: ANN401 - untyped library
        self._model = model
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}

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
