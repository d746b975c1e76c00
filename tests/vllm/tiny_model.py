"""A model so small that real engines start fast, written without any download.

Its weights are random, but large enough that each output depends on the whole context: a test
that finds the same tokens twice has found the same KV cache twice.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_SPECIAL = ["<s>", "</s>", "<pad>"]
_CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
_HIDDEN, _INNER, _LAYERS, _HEADS, _VOCABULARY = 64, 128, 2, 2, 259


def write_tiny_model(folder: Path) -> Path:
    """Write a Llama with a byte-level tokenizer of 259 entries; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "head_dim": _HIDDEN // _HEADS,  # 32 is the least that attention on CPU takes
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 2048,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer().save_pretrained(folder)
    return folder


def _weights() -> dict[str, torch.Tensor]:
    shapes = {
        "model.embed_tokens": (_VOCABULARY, _HIDDEN),
        "lm_head": (_VOCABULARY, _HIDDEN),
        "model.norm": (_HIDDEN,),
    }
    for i in range(_LAYERS):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{name}_proj": (_HIDDEN, _HIDDEN) for name in "qkvo"}
        shapes |= {f"{layer}.mlp.{name}_proj": (_INNER, _HIDDEN) for name in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj"] = (_HIDDEN, _INNER)
        shapes[f"{layer}.input_layernorm"] = shapes[f"{layer}.post_attention_layernorm"] = (
            _HIDDEN,
        )
    random = torch.Generator().manual_seed(0)
    return {
        f"{name}.weight": torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=random) * 1.5 / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*letters, *_SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=_CHAT,
    )
