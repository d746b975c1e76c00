"""`simulate` over a grid: what it runs, in which order, and what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from tests.whatif.parts import MIXED, interrupted_after, trace_file

PLANNED = MIXED + "policy: {kind: planned, solver: {kind: anneal, move_budget: 30}}\n"


def run(trace: Path, *arguments: object, text: str = PLANNED) -> Result:
    config = trace.with_suffix(".yaml")
    config.write_text(text, encoding="utf-8")
    words = ["simulate", trace, "--config", config, *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def cells(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [run["cell"] for run in json.loads(result.stdout)["runs"]]


def test_one_process_or_two_give_the_same_bytes(tmp_path: Path) -> None:
    """Law 4, whatever --jobs."""
    trace = trace_file(tmp_path)
    arguments = ["-q", "--load", 1, "--load", 2, "--policy", "sjf", "--policy", "planned"]
    arguments += ["--grid", "engine.max_num_seqs=2,8", "--format", "json", "--seed", 3]
    one, two = (run(trace, *arguments, "--jobs", jobs) for jobs in (1, 2))
    assert one.stdout == two.stdout
    assert cells(one) == [
        {"load": load, "engine.max_num_seqs": slots, "policy": kind}
        for load in (1.0, 2.0)
        for slots in (2, 8)
        for kind in ("sjf", "planned")
    ]
    for found in json.loads(one.stdout)["runs"]:
        assert found["config"]["engine"]["max_num_seqs"] == found["cell"]["engine.max_num_seqs"]
        assert found["config"]["policy"]["kind"] == found["policy"] == found["cell"]["policy"]
        assert found["completed"] == 40


def test_a_grid_in_the_configuration_and_profiles_of_ones_own(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 10)
    slow = tmp_path / "slow.yaml"
    slow.write_text("{base_ms: 90, per_prefill_token_ms: 1, per_sequence_ms: 1, "
                    "per_context_token_ms: 0.01}", encoding="utf-8")  # fmt: skip
    text = PLANNED + (
        "whatif:\n  grid:\n    policy: [fcfs]\n"
        f"    engine.profile: [{slow}, cpu-smollm2-135m]\n    engine.num_kv_blocks: [2000]\n"
    )
    result = run(trace, "-q", "--format", "json", text=text)
    assert [cell["engine.profile"] for cell in cells(result)] == [str(slow), "cpu-smollm2-135m"]
    runs = json.loads(result.stdout)["runs"]
    assert [r["profile"] for r in runs] == [str(slow), "cpu-smollm2-135m"]
    assert runs[0]["mean_ttft_ms"] != runs[1]["mean_ttft_ms"]
    table = run(trace, "-q", text=text)
    assert "engine.num_kv_blocks" in table.stdout


def test_a_large_grid_says_how_large_it_is(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 3)
    grid = "engine.max_num_seqs=" + ",".join(map(str, range(1, 11)))
    arguments = ["--policy", "fcfs", "--policy", "sjf", "--grid", grid]
    result = run(trace, *arguments)
    assert result.exit_code == 0
    assert "20 runs (10 engine.max_num_seqs x 2 policy), one by one; see --jobs" in result.stderr
    assert "runs" not in run(trace, *arguments, "-q").stderr
    assert "runs" not in run(trace, *arguments[:4]).stderr


def test_nothing_runs_if_one_cell_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = interrupted_after(monkeypatch, runs=0)
    result = run(trace_file(tmp_path), "-q", "--grid", "engine.max_num_seqs=8,0")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --grid engine.max_num_seqs: must be at least 1, got 0\n"
    )  # fmt: skip
    assert not begun


def test_ctrl_c_keeps_the_cells_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(monkeypatch, runs=3)
    arguments = ["-q", "--policy", "fcfs", "--grid", "engine.max_num_seqs=2,4,8,16"]
    result = run(trace_file(tmp_path, 8), *arguments, "--format", "json")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: 3 of 4 runs were done\n"
    done = [r["cell"]["engine.max_num_seqs"] for r in json.loads(result.stdout)["runs"]]
    assert done == [2, 4, 8]


def test_config_check_tries_the_grid(tmp_path: Path) -> None:
    path = tmp_path / "slosched.yaml"
    path.write_text(PLANNED + "whatif: {grid: {engine.max_seqs: [3]}}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["config", "check", str(path)])
    assert result.exit_code == 2
    assert "engine.max_seqs: unknown field, did you mean max_num_seqs?" in result.stderr
