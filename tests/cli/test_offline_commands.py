"""What `simulate`, `optimize` and `config` print, write and refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from slosched.sim.engine import SimulatedEngine
from slosched.sim.records import Records

CHAT = """
classes: {chat: {ttft_ms: 1000}}
policy: {kind: planned, solver: {kind: anneal, move_budget: 40}}
"""
REAL = Path("../shared/data/azure_2023_conv.csv")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def made_trace(folder: Path, n: int = 60) -> Path:
    """Conversations as Azure's trace has them: bursts, long tails, no newline at the end."""
    rng = np.random.default_rng(5)
    seconds = np.cumsum(rng.exponential(0.15, n))
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for at in seconds:
        prompt, answer = int(rng.lognormal(6, 1)) + 1, int(rng.lognormal(4, 1)) + 1
        lines.append(f"2023-11-16 18:15:{at:010.7f},{prompt},{answer}")
    path = folder / "conversations.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(params=["made", "real"])
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A trace that the test makes; and the recorded one too where it lies beside the project."""
    if request.param == "real" and REAL.exists():
        return REAL
    return made_trace(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(CHAT, encoding="utf-8")
    return path


def test_simulate_has_a_run_for_each_policy_and_load(trace: Path, config: Path) -> None:
    """Laws 1 and 4, from the outside."""
    arguments: list[object] = ["simulate", trace, "--config", config, "--limit", 60, "-q"]
    arguments += ["--format", "json", "--policy", "all", "--load", 1, "--load", 2]
    arguments += ["--set", "predictor.kind=oracle"]
    first, second = run(*arguments), run(*arguments)
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    runs = json.loads(first.stdout)["runs"]
    assert [r["load"] for r in runs] == [1.0] * 13 + [2.0] * 13
    assert {r["policy"] for r in runs} == {
        "fcfs", "priority", "edf", "least_slack", "sjf", "aged_sjf", "isrtf", "ltr", "ssjf",
        "density", "moore_hodgson", "slo_sa", "planned",
    }  # fmt: skip
    for r in runs:
        assert r["completed"] + r["failed"] == 60
        assert r["plan_failures"] == 0
        assert r["config"]["policy"]["kind"] == r["policy"]
        assert 0 <= r["slo_attainment"] <= 1


def test_simulate_prints_a_table_and_writes_per_request_arrays(
    trace: Path, config: Path, tmp_path: Path
) -> None:
    output = tmp_path / "runs.json"
    result = run(
        "simulate", trace, "--config", config, "--limit", 20, "-q", "--policy", "fcfs",
        "--requests", "-o", output,
    )  # fmt: skip
    assert result.exit_code == 0
    assert "fcfs" in result.stdout
    (written,) = json.loads(output.read_text(encoding="utf-8"))["runs"]
    assert len(written["ttfts_ms"]) == len(written["slo_met"]) == 20


def test_optimize_writes_a_line_per_request_and_proves_a_bound(
    trace: Path, config: Path, tmp_path: Path
) -> None:
    plan, timeline = tmp_path / "plan.jsonl", tmp_path / "timeline.json"
    result = run(
        "optimize", trace, "--config", config, "--limit", 40, "-o", plan, "--perfetto", timeline,
        "--bound-s", 1, "--format", "json", "-q",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    lines = [json.loads(line) for line in plan.read_text(encoding="utf-8").splitlines()]
    assert summary["requests"] == len(lines) == 40
    assert [line["order"] for line in lines] == list(range(40))
    assert len({line["request_id"] for line in lines}) == 40
    assert summary["attained"] == sum(line["slo_met"] for line in lines)
    assert summary["attained"] <= summary["attained_bound"] <= 40
    for line in lines:
        assert line["slo_met"] == (line["first_token_ms"] <= 1000)
        assert line["start_ms"] < line["first_token_ms"] <= line["finish_ms"]
    events = json.loads(timeline.read_text(encoding="utf-8"))["traceEvents"]
    assert len(events) == 80
    assert max(event["tid"] for event in events) <= 32 * 2


def test_optimize_runs_every_solver(tmp_path: Path, config: Path) -> None:
    trace = made_trace(tmp_path, 6)
    attained = {}
    for solver in ("anneal", "cpsat", "exhaustive", "slo_sa"):
        result = run(
            "optimize", trace, "--config", config, "--solver", solver, "--format", "json",
            "--bound-s", 1, "-q",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        attained[solver] = json.loads(result.stdout)["attained"]
    assert attained["anneal"] == attained["exhaustive"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--policy", "fcsf"), "unknown policy 'fcsf', did you mean fcfs?"),
        (("--load", "0"), "--load must be greater than 0"),
        (("--set", "policy.kin=fcfs"), "did you mean kind?"),
        (("--set", "engine.max_num_seqs=0"), "max_num_seqs"),
        (("--set", "engine.profile=h200"), "engine.profile: 'h200' is no readable file"),
        (("--set", "planner.solve_ms=.inf"), "planner.solve_ms: must be a finite number"),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml: No such file"),
        (("--set", "predictor={kind: custom, target: no.such:Thing}"), "no.such:Thing"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    result = run("simulate", made_trace(tmp_path), "-q", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_a_trace_is_not_overwritten_by_results(tmp_path: Path) -> None:
    trace = made_trace(tmp_path)
    before = trace.read_bytes()
    result = run("simulate", trace, "-q", "-o", tmp_path / "." / trace.name)
    assert result.exit_code == 2
    assert "is one of the traces" in result.stderr
    assert trace.read_bytes() == before


@pytest.mark.parametrize("done", [0, 2])
def test_ctrl_c_keeps_the_runs_that_are_done(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    served: list[object] = []
    serve = SimulatedEngine.run

    def stopped(*arguments: Any) -> Records:
        if len(served) == done:
            raise KeyboardInterrupt
        served.append(arguments)
        return serve(*arguments)

    monkeypatch.setattr(SimulatedEngine, "run", stopped)
    arguments = ["--config", config, "--policy", "fcfs", "--policy", "sjf", "--policy", "edf"]
    found = tmp_path / "out.json"
    result = run("simulate", made_trace(tmp_path, 10), "-q", "-o", found, *arguments)
    assert result.exit_code == 130
    if done:
        assert result.stderr == "interrupted: 2 of 3 runs were done\n"
        assert [r["policy"] for r in json.loads(found.read_bytes())["runs"]] == ["fcfs", "sjf"]
    else:
        assert result.stderr == "interrupted\n"
        assert not found.exists()


def test_config_check_says_what_serve_will_refuse(tmp_path: Path) -> None:
    path = tmp_path / "slosched.yaml"
    path.write_text(CHAT + "predictor: {kind: oracle}\n", encoding="utf-8")
    result = run("config", "check", path)
    assert result.exit_code == 0
    assert "note: serve will refuse it: predictor.kind: oracle" in result.stdout
    assert "use history" in result.stdout


def test_a_broken_trace_names_file_and_line(tmp_path: Path) -> None:
    trace = made_trace(tmp_path)
    lines = trace.read_text(encoding="utf-8").splitlines()
    lines[7] = lines[7].replace(",", ",x", 1)
    trace.write_text("\n".join(lines), encoding="utf-8")
    result = run("simulate", trace, "-q", "-o", tmp_path / "out.json")
    assert result.exit_code == 2
    assert f"{trace}:8:" in result.stderr
    assert not (tmp_path / "out.json").exists()


def test_config_check_points_at_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "slosched.yaml"
    path.write_text("classes:\n  code: {ttf_ms: 1000}\n", encoding="utf-8")
    result = run("config", "check", path)
    assert result.exit_code == 2
    assert (
        f"{path}:2:10: classes.code.ttf_ms: unknown field, did you mean ttft_ms?" in result.stderr
    )


def test_config_show_prints_what_config_check_accepts(tmp_path: Path) -> None:
    shown = run("config", "show", "--set", "policy.solver.cooling=0.9")
    assert shown.exit_code == 0
    path = tmp_path / "shown.yaml"
    path.write_text(shown.stdout, encoding="utf-8")
    again = run("config", "show", "--config", path)
    assert again.stdout == shown.stdout
    assert "cooling: 0.9" in shown.stdout
    assert run("config", "check", path).exit_code == 0


def test_config_schema_is_a_json_schema() -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert schema["required"] == ["classes"]
    assert "ttft_ms" in schema["$defs"]["SloClassSettings"]["properties"]


HEAVY = (
    "vllm", "torch", "transformers", "ortools", "numba", "matplotlib", "jinja2", "pydantic",
    "fastapi", "scipy", "aiohttp", "optuna", "ruamel.yaml", "onnxruntime", "tokenizers",
    "safetensors",
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import slosched", HEAVY),
        ("import slosched.cli.main", HEAVY),
        ("import slosched.vllm", HEAVY),
        ("import slosched.config.load", ("vllm", "torch", "transformers", "ortools", "fastapi")),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str, heavy: tuple[str, ...]) -> None:
    script = f"{code}\nimport sys\nprint([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["simulate"],
        ["optimize"],
        ["report"],
        ["serve"],
        ["gateway"],
        ["bench"],
        ["calibrate"],
        ["plan-capacity"],
        ["tune"],
    ],
)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    if command:
        assert "Example" in result.stdout
