"""Encoders: pooling, batches, and the real ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import ModelError
from slosched.predictors.encoder import batches, open_encoder
from tests.predictors.parts import bge_small, minilm, small_encoder

QUESTION = "How do I sort a list in Python?"
ALIKE = "What is the way to order the elements of a Python list?"
OTHER = "Write a long story about a dragon who lives by the sea."


@given(st.lists(st.integers(1, 600), max_size=50), st.integers(1, 2000))
def test_every_text_is_in_one_batch_and_none_is_too_large(lengths: list[int], most: int) -> None:
    parts = batches(lengths, most)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or max(lengths[i] for i in part) * len(part) <= most


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=30), min_size=1, max_size=9))
def test_a_text_is_embedded_the_same_whatever_is_beside_it(texts: list[list[str]]) -> None:
    encoder, _ = small_encoder()
    joined = [" ".join(letters) for letters in texts]
    together = encoder.encode(joined)
    for text, made in zip(joined, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], made)


@pytest.mark.parametrize("which", ["bge", "minilm"])
def test_real_encoders_know_what_means_the_same(which: str) -> None:
    folder = bge_small() if which == "bge" else minilm()
    encoder = open_encoder(str(folder), max_tokens=128)
    one, alike, other = encoder.encode([QUESTION, ALIKE, OTHER])
    assert encoder.dimension == len(one) == 384
    assert cosine(one, alike) > cosine(one, other) + 0.2


def test_a_text_of_a_hundred_thousand_tokens_takes_no_more_than_any() -> None:
    encoder = open_encoder(str(bge_small()), max_tokens=64)
    [one] = encoder.encode([f"{QUESTION} {'word ' * 100_000}{OTHER}"])
    assert np.isfinite(one).all()


def test_what_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no encoder that transformers can load"):
        open_encoder(str(tmp_path))
    with pytest.raises(ModelError, match="runtime onnx needs a local folder with an ONNX file"):
        open_encoder(str(tmp_path), runtime="onnx")
    (tmp_path / "model.onnx").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match=str(tmp_path)):
        open_encoder(str(tmp_path))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
