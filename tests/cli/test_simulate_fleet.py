"""`simulate --replicas`: engines behind one queue or several, as rows of a table."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from tests.whatif.parts import MIXED, trace_file

PLANNED = MIXED + (
    "policy: {kind: fcfs}\nengine: {max_num_seqs: 4}\n"
    "fleet: {assignment: {kind: planned, solver: {time_budget_ms: null, move_budget: 30}}}\n"
)
FLEET = ["-q", "--replicas", 3, "--load", 3]


def run(trace: Path, *arguments: object) -> Result:
    config = trace.with_suffix(".yaml")
    config.write_text(PLANNED, encoding="utf-8")
    words = ["simulate", trace, "--config", config, *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def runs(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["runs"]
    return found


def test_a_row_for_each_number_of_replicas_and_shards_and_each_assignment(tmp_path: Path) -> None:
    asked = ["--replicas", 2, "--shards", 1, "--shards", 2]
    asked += ["--assignment", "planned", "--assignment", "power_of_two"]
    found = runs(run(trace_file(tmp_path), *FLEET, *asked, "--format", "json"))
    assert [(r["replicas"], r["shards"], r["assignment"]) for r in found] == [
        (replicas, shards, kind)
        for replicas in (3, 2)
        for shards in (1, 2)
        for kind in ("planned", "power_of_two")
    ]
    assert all(r["completed"] == 40 for r in found)
    table = run(trace_file(tmp_path), *FLEET, *asked).stdout
    assert "power_of_two" in table
    assert "shards" in table


def test_the_same_bytes_each_time_whatever_jobs(tmp_path: Path) -> None:
    """Law 4."""
    trace = trace_file(tmp_path)
    asked = [*FLEET, "--shards", 1, "--shards", 3, "--sharing", "least_loaded", "--format", "json"]
    one, two = (run(trace, *asked, "--jobs", jobs) for jobs in (1, 2))
    assert one.stdout == two.stdout
    assert all("median_plan_ms" not in r for r in runs(one))


def test_plans_as_long_as_they_take_are_reported(tmp_path: Path) -> None:
    asked = [*FLEET, "--plan-time", "measured", "--format", "json"]
    found = runs(run(trace_file(tmp_path), *asked))[-1]
    assert found["median_plan_ms"] > 0
    assert found["p99_plan_ms"] >= found["median_plan_ms"]
    assert found["busy_share"] > 0
    assert found["solving_share"] > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--shards", 2], "--shards is of --replicas"),
        (["--replicas", 2, "--shards", 3], "shards must be at least 1 and at most replicas (2)"),
        (["--replicas", 0], "--replicas must be a whole number from 1 on, got 0"),
        (["--replicas", 2, "--stream"], "--stream is for one engine"),
        (["--replicas", 2, "--assignment", "best"], "best"),
    ],
)
def test_what_makes_no_fleet(tmp_path: Path, asked: list[object], said: str) -> None:
    result = run(trace_file(tmp_path), "-q", *asked)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
