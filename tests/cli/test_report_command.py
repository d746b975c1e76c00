"""What `report`, and `optimize --report`, print, write and refuse."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from tests.report.made import drawn, result
from tests.report.pages import Tags, picture


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    lines = [
        {
            "timestamp": traced.request.arrival * 1e3,
            "input_length": traced.request.input_tokens,
            "output_length": traced.output_tokens,
        }
        for traced in drawn(4.0, 30)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "runs.json"
    path.write_bytes(orjson.dumps(result(n=30)))
    return path


def test_what_simulate_writes_can_be_drawn(trace: Path, tmp_path: Path) -> None:
    runs, page = tmp_path / "runs.json", tmp_path / "r.html"
    simulated = run(
        "simulate", trace, "--policy", "fcfs", "--policy", "sjf", "--load", 1, "--load", 2,
        "--requests", "-q", "-o", runs, "--set", "predictor.kind=oracle",
    )  # fmt: skip
    assert simulated.exit_code == 0, simulated.output
    drawing = run("report", runs, "-o", page)
    assert drawing.exit_code == 0, drawing.output
    assert drawing.stdout.startswith(f"{page}: 4 runs, ")
    assert not drawing.stderr
    text = page.read_text(encoding="utf-8")
    assert not Tags(text).open
    picture(text, "Schedule of ")
    again = tmp_path / "again.html"
    assert run("report", runs, "-o", again).exit_code == 0
    assert again.read_bytes() == page.read_bytes()


def test_several_results_are_joined_and_the_run_is_chosen(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    other = tmp_path / "other.json"
    other.write_bytes(results.read_bytes())
    drawing = run(
        "report", results, other, "-o", page, "--run", "sjf (other.json)@1", "--from", 1, "--for", 2
    )
    assert drawing.exit_code == 0, drawing.output
    assert "8 runs" in drawing.stdout
    picture(page.read_text(encoding="utf-8"), "Schedule of sjf (other.json)@1, from 1 to 3 s")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--run", "sfj@2"), "--run sfj@2: no such run, did you mean sjf@2?"),
        (("--from", "1e9"), "--from must be from 0 to "),
        (("--for", "0"), "--for must be greater than 0 and finite, got 0"),
        (("/nowhere.json",), "/nowhere.json: No such file or directory"),
        (("-o", "/nowhere/r.html"), "/nowhere/r.html: no such folder: /nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    results: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    page = tmp_path / "r.html"
    refused = run("report", results, "-o", page, *arguments)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {complaint}")
    assert refused.stderr.count("\n") == 1
    assert not refused.stdout
    assert not page.exists()


def test_a_broken_result_names_file_and_field(results: Path, tmp_path: Path) -> None:
    document = result(n=30)
    del document["runs"][2]["slo_attainment"]
    results.write_bytes(orjson.dumps(document))
    refused = run("report", results, "-o", tmp_path / "r.html")
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {results}: runs[2].slo_attainment: is missing")
    assert refused.stderr.count("\n") == 1


def test_a_result_is_not_overwritten_by_its_report(results: Path) -> None:
    before = results.read_bytes()
    refused = run("report", results, "-o", results.parent / "." / results.name)
    assert refused.exit_code == 2
    assert "is one of the results" in refused.stderr
    assert results.read_bytes() == before


def test_ctrl_c_leaves_nothing_half_written(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("slosched.report.comparison.comparison", stopped)
    ended = run("report", results, "-o", tmp_path / "r.html")
    assert ended.exit_code == 130
    assert list(tmp_path.iterdir()) == [results]


def test_optimize_draws_its_plan(trace: Path, tmp_path: Path) -> None:
    page, plan = tmp_path / "plan.html", tmp_path / "plan.jsonl"
    planned = run(
        "optimize", trace, "--limit", 20, "--bound-s", 1, "--report", page, "-o", plan, "-q",
        "--format", "json", "--set", "policy={kind: planned, solver: {kind: anneal, restarts: 1}}",
        "--set", "policy.solver.move_budget=40",
    )  # fmt: skip
    assert planned.exit_code == 0, planned.output
    summary = orjson.loads(planned.stdout)
    text = Tags(page.read_text(encoding="utf-8")).text
    assert f"{summary['attained']} of them meet their SLO" in text
    assert f"attains more than {summary['attained_bound']:g}" in text
    for line in plan.read_text(encoding="utf-8").splitlines():
        assert f" {orjson.loads(line)['request_id']} " in text


def test_a_plan_without_a_folder_is_refused_before_it_is_made(trace: Path) -> None:
    refused = run("optimize", trace, "--report", "/nowhere/plan.html")
    assert refused.exit_code == 2
    assert "no such folder: /nowhere" in refused.stderr
