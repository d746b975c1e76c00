"""Adapters in ONNX graphs: the same changes as torch makes, in as few bits as there were."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from slosched.core.errors import ModelError
from slosched.predictors.encoder import Runtime, open_encoder
from slosched.predictors.onnx_adapter import adapt
from slosched.predictors.onnx_graph import Graph
from slosched.predictors.torch_network import open_torch
from slosched.training.fine_tune import adapter_for
from slosched.training.options import TrainOptions
from tests.predictors.parts import bge_small
from tests.predictors.test_encoder import ALIKE, OTHER, QUESTION, cosine

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_encoder.py"
TEXTS = (QUESTION, ALIKE, OTHER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BGE-small for transformers, and as the graph that it was restored from."""
    out = tmp_path_factory.mktemp("encoder") / "bge-small"
    subprocess.run([sys.executable, SCRIPT, out], check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Changes to the last two layers, at random."""
    torch.manual_seed(0)
    _, network = open_torch(str(folder), 64, "cpu")
    module = adapter_for(network.module, TrainOptions(adapter_rank=4, adapter_layers=2))
    for name, weights in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.3)
    out = tmp_path_factory.mktemp("adapter")
    module.save_pretrained(out)
    return out


def test_the_restored_encoder_says_what_the_graph_says(folder: Path) -> None:
    by_torch = open_encoder(str(folder), runtime="torch").encode(TEXTS)
    by_onnx = open_encoder(str(bge_small())).encode(TEXTS)
    assert all(cosine(a, b) > 0.99 for a, b in zip(by_torch, by_onnx, strict=True))


def test_an_adapter_does_the_same_in_torch_and_in_a_graph(folder: Path, adapter: Path) -> None:
    by_torch = open_encoder(str(folder), runtime="torch", adapter=adapter).encode(TEXTS)
    by_onnx = open_encoder(str(folder), adapter=adapter).encode(TEXTS)
    without = open_encoder(str(folder)).encode(TEXTS)
    for a, b, before in zip(by_torch, by_onnx, without, strict=True):
        assert cosine(a, b) > 0.98
        assert cosine(a, before) < 0.95


@pytest.mark.parametrize("layers", [1, 5, 12])
def test_the_first_layers_say_the_same_in_torch_and_in_a_graph(folder: Path, layers: int) -> None:
    by_torch = open_encoder(str(folder), runtime="torch", layers=layers).encode(TEXTS)
    by_onnx = open_encoder(str(folder), layers=layers).encode(TEXTS)
    assert all(cosine(a, b) > 0.98 for a, b in zip(by_torch, by_onnx, strict=True))
    [whole, *_] = open_encoder(str(folder)).encode(TEXTS)
    assert (cosine(by_onnx[0], whole) > 0.999) == (layers == 12)


def test_an_adapter_of_the_first_layers(folder: Path, tmp_path: Path) -> None:
    _, network = open_torch(str(folder), 64, "cpu", layers=3)
    module = adapter_for(network.module, TrainOptions(adapter_rank=4, adapter_layers=2))
    for name, weights in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.3)
    module.save_pretrained(tmp_path)
    assert {name.split(".")[4] for name in load_file(tmp_path / "adapter_model.safetensors")} == {
        "1", "2",
    }  # fmt: skip
    by_torch = open_encoder(str(folder), runtime="torch", adapter=tmp_path, layers=3)
    by_onnx = open_encoder(str(folder), adapter=tmp_path, layers=3)
    for a, b in zip(by_torch.encode(TEXTS), by_onnx.encode(TEXTS), strict=True):
        assert cosine(a, b) > 0.98


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_more_layers_than_there_are(folder: Path, runtime: Runtime) -> None:
    with pytest.raises(ModelError, match="layers must be at most 12"):
        open_encoder(str(folder), runtime=runtime, layers=13)


def test_only_what_an_adapter_changes_is_changed(folder: Path, adapter: Path) -> None:
    path, changed = folder / "onnx" / "model_quantized.onnx", folder / "changed.onnx"
    made = Graph(path)
    adapt(made, adapter)
    changed.write_bytes(made.serialized())
    before, after = Graph(path), Graph(changed)
    last = {layer.tensor for layer in before.layers() if layer.place.split(".")[2] in ("10", "11")}
    assert len(last) == 12
    for name in before.names():
        if name.endswith(("_scale", "_zero_point")):
            continue
        same = np.array_equal(before.weights(name), after.weights(name))
        assert same == (name not in last), name


def test_weights_that_are_written_as_they_were_stay_so() -> None:
    graph = Graph(bge_small() / "model.onnx")
    for layer in list(graph.layers())[::20]:
        weights = graph.weights(layer.tensor)
        graph.change(layer.tensor, weights)
        step = np.abs(weights).max() / 64
        np.testing.assert_allclose(graph.weights(layer.tensor), weights, atol=step)


def test_a_graph_in_single_precision(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="/encoder/layer.0/dense/MatMul")
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
        for name, width in (("x", 3), ("y", 2))
    )
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    found = Graph(path)
    [layer] = found.layers()
    assert layer.place == "encoder.layer.0.dense"
    found.change(layer.tensor, weights + 0.5)
    path.write_bytes(found.serialized())
    np.testing.assert_array_equal(Graph(path).weights("w"), weights + 0.5)


def test_an_adapter_of_another_encoder(folder: Path, adapter: Path, tmp_path: Path) -> None:
    graph = Graph(folder / "onnx" / "model_quantized.onnx")
    with pytest.raises(ModelError, match="no adapter"):
        adapt(graph, tmp_path)
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    elsewhere = {name.replace("layer.11", "layer.31"): array for name, array in tensors.items()}
    save_file(elsewhere, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"changes encoder.layer.31.* does not have"):
        adapt(graph, tmp_path)
    narrow = {
        name: array[:, :-1].copy() if "lora_A" in name else array for name, array in tensors.items()
    }
    save_file(narrow, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="has shape"):
        adapt(graph, tmp_path)
