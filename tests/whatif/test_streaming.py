"""`simulate --stream`: the same run, without a memory of single requests."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slosched.cli.main import app

POISSON = "workload.arrivals={kind: poisson, rate: 9}"
EXACT = ("steps", "completed", "failed", "slo_attainment", "weighted_attainment", "preemptions")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    lines = [
        {
            "timestamp": 150 * (i // 3),
            "input_length": 40 + 97 * i % 900,
            "output_length": 3 + 31 * i % 70,
            "request_id": f"r{i}",
        }
        for i in range(5000)
    ]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def runs(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["simulate", *arguments, "--format", "json", "-q"])
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)["runs"]
    return found


@pytest.mark.parametrize("predictor", ["oracle", "history"])
def test_a_stream_comes_to_the_same(trace: Path, predictor: str) -> None:
    arguments = (
        str(trace), "--policy", "edf", "--limit", "600", "--load", "3",
        "--set", f"predictor.kind={predictor}", "--set", POISSON,
    )  # fmt: skip
    [whole], [streamed] = runs(*arguments), runs(*arguments, "--stream")
    assert streamed.keys() == whole.keys()
    for name in EXACT:
        assert streamed[name] == whole[name], name
    for name in ("mean_ttft_ms", "mean_e2el_ms", "duration", "output_throughput"):
        assert streamed[name] == pytest.approx(whole[name]), name
    for name in ("median_e2el_ms", "p99_e2el_ms"):
        assert streamed[name] == pytest.approx(whole[name], rel=0.02), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests"], "--stream keeps no requests"),
        (["--set", "predictor.kind=noisy_classes"], "noisy_classes needs all lengths beforehand"),
    ],
)
def test_what_a_stream_cannot_do_is_said(trace: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["simulate", str(trace), "--stream", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_a_line_that_is_wrong_ends_it_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good = '{"timestamp": 1, "input_length": 9, "output_length": 3}\n'
    path.write_text(good + '{"timestamp": 0, "input_length": 9, "output_length": 3}\n')
    result = CliRunner().invoke(app, ["simulate", str(path), "--stream", "--policy", "fcfs"])
    assert result.exit_code == 2
    assert "t.jsonl:2: goes back in time" in result.output
