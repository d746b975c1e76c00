"""Encoders as ONNX files, computed by onnxruntime: no torch, and quick on CPUs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from slosched.core.errors import ModelError
from slosched.core.types import IntArray
from slosched.predictors.encoder import Embeddings, Network
from slosched.predictors.onnx_adapter import adapt
from slosched.predictors.onnx_graph import Graph
from slosched.predictors.tokens import Tokens

_LIBRARIES = "onnxruntime and tokenizers: pip install 'slosched[onnx]'"


class OnnxNetwork:
    """The layers of an encoder as one ONNX graph.

    Parameters
    ----------
    session
        An `onnxruntime.InferenceSession`, whose first output are the last layer's states.
    """

    # On one core 512 tokens take 15 ms for each 128 of them, 4,096 take 26: caches are small.
    batch_tokens = 512

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - untyped library
        self._session = session
        self._inputs = [wanted.name for wanted in session.get_inputs()]
        self._output = session.get_outputs()[0]
        if not {"input_ids", "attention_mask"} <= set(self._inputs):
            raise ModelError(
                f"the ONNX graph must take input_ids and attention_mask, takes {self._inputs}"
            )

    @property
    def dimension(self) -> int:
        """Length of a state."""
        return int(self._output.shape[-1])

    def states(self, ids: IntArray, mask: IntArray) -> Embeddings:
        """Compute the last layer's states, shape (n, tokens, dimension)."""
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: given[name] for name in self._inputs}
        states: Embeddings = self._session.run([self._output.name], feed)[0]
        return states


def open_onnx(
    folder: Path, max_tokens: int, threads: int, adapter: Path | None = None, layers: int = 0
) -> tuple[Tokens, Network]:
    """Load the graph and the tokenizer of a folder; ModelError if that fails.

    Parameters
    ----------
    adapter
        Folder of an adapter (LoRA) to add to the graph's weights.
    layers
        How many of its layers to compute; 0 for all.
    """
    try:
        from onnxruntime import InferenceSession, SessionOptions
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError(f"{folder}: encoders in ONNX need {_LIBRARIES} ({error})") from None
    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # A core that waits for the next text belongs to the engine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = _graph(folder, adapter, layers)
    try:
        session = InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        raise ModelError(f"{folder}: {error}") from error
    network = OnnxNetwork(session)
    return Tokens(tokenizer, min(max_tokens, _longest(folder))), network


def _graph(folder: Path, adapter: Path | None, layers: int) -> Path | bytes:
    """Choose the graph, of several what was quantized for CPUs, and change it as asked."""
    found = sorted(folder.rglob("*.onnx"), key=lambda path: ("quant" not in path.name, path.name))
    if adapter is None and not layers:
        return found[0]
    graph = Graph(found[0])
    if layers:
        graph.keep(layers)
    if adapter is not None:
        adapt(graph, adapter)
    return graph.serialized()


def _longest(folder: Path) -> int:
    """Tokens that the model was made for."""
    try:
        config = json.loads((folder / "config.json").read_text())
        return int(config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 512
