"""Encoders that transformers knows, computed by torch."""

from pathlib import Path
from typing import Any

import numpy as np

from slosched.core.errors import ModelError
from slosched.core.types import IntArray
from slosched.predictors.encoder import Embeddings
from slosched.predictors.tokens import Tokens

_LIBRARIES = "torch, transformers and peft: pip install 'slosched[predict]'"


class TorchNetwork:
    """The layers of an encoder as a torch module, in evaluation mode.

    Parameters
    ----------
    module
        A `transformers.PreTrainedModel`.
    """

    batch_tokens = 4096

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - untyped library
        self.module = module

    @property
    def dimension(self) -> int:
        """Length of a state."""
        return int(self.module.config.hidden_size)

    def states(self, ids: IntArray, mask: IntArray) -> Embeddings:
        """Compute the last layer's states, shape (n, tokens, dimension)."""
        import torch

        device = self.module.device
        with torch.inference_mode():
            found = self.module(
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device),
            )
            states: Embeddings = found.last_hidden_state.float().cpu().numpy()
        return states.astype(np.float32, copy=False)


def open_torch(
    model: str, max_tokens: int, device: str, adapter: Path | None = None, layers: int = 0
) -> tuple[Tokens, TorchNetwork]:
    """Load a model and its tokenizer from a folder or the hub; ModelError if that fails.

    Parameters
    ----------
    adapter
        Folder of an adapter (LoRA) to add to the model's weights.
    layers
        How many of its layers to compute; 0 for all.
    """
    try:
        import torch
        from transformers import AutoModel
    except ImportError as error:
        raise ModelError(f"{model}: this encoder needs {_LIBRARIES} ({error})") from None
    try:
        tokenizer = load_tokenizer(model)
        module = AutoModel.from_pretrained(model, dtype=torch.float32).to(device).eval()
    except Exception as error:
        hint = "" if Path(model).is_dir() else "; encoder may be a folder, too, which needs no hub"
        raise ModelError(
            f"{model}: no encoder that transformers can load: {_line(error)}{hint}"
        ) from error
    if layers:
        _keep(module, layers, model)
    if adapter is not None:
        module = _with_adapter(module, adapter).eval()
    longest = int(getattr(module.config, "max_position_embeddings", 512))
    return Tokens(tokenizer.backend_tokenizer, min(max_tokens, longest)), TorchNetwork(module)


def load_tokenizer(model: str) -> Any:  # noqa: ANN401 - untyped library
    """Load a tokenizer of a folder or of the hub."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, use_fast=True)


def _keep(module: Any, layers: int, model: str) -> None:  # noqa: ANN401 - untyped library
    """Drop all layers but the first ones."""
    from torch.nn import ModuleList

    most = int(module.config.num_hidden_layers)
    if layers > most:
        raise ModelError(f"{model}: layers must be at most {most}")
    for part in module.modules():
        if isinstance(part, ModuleList) and len(part) == most:
            del part[layers:]
    module.config.num_hidden_layers = layers


def _with_adapter(module: Any, adapter: Path) -> Any:  # noqa: ANN401 - untyped library
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(f"{adapter}: adapters need peft: {_LIBRARIES} ({error})") from None
    try:
        return PeftModel.from_pretrained(module, str(adapter)).merge_and_unload()
    except Exception as error:
        raise ModelError(f"{adapter}: no adapter for this encoder: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
