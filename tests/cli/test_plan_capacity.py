"""`plan-capacity`: answers that hold, targets that cannot, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from tests.whatif.parts import MIXED, interrupted_after, trace_file

SMALL = MIXED + "engine: {max_num_seqs: 4, num_kv_blocks: 3000}\npredictor: {kind: oracle}\n"


def run(trace: Path, *arguments: object, text: str = SMALL) -> Result:
    config = trace.with_suffix(".yaml")
    config.write_text(text, encoding="utf-8")
    words = ["plan-capacity", trace, "--config", config, "-q", *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def found(result: Result, exit_code: int = 0) -> dict[str, Any]:
    assert result.exit_code == exit_code, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("routing", ["least_work", "round_robin", "random"])
def test_the_fewest_replicas_meet_and_one_less_does_not(tmp_path: Path, routing: str) -> None:
    trace = trace_file(tmp_path, 60)
    result = run(
        trace, "--policy", "fcfs", "--target", "all=0.9", "--format", "json", "--routing", routing
    )
    answer = found(result)
    (search,) = answer["searches"]
    needed = search["answer"]
    probes = {probe["replicas"]: probe for probe in search["probes"]}
    assert needed > 1
    assert probes[needed]["attainment"]["all"] >= 0.9 > probes[needed - 1]["attainment"]["all"]
    assert search["margin"]["all"] == pytest.approx(probes[needed]["attainment"]["all"] - 0.9)
    assert {needed - 1, needed, needed + 1} <= set(probes)
    for probe in probes.values():
        assert probe["completed"] + probe["failed"] == answer["requests"] == 60
        assert probe["slo_attainment"] == probe["attainment"]["all"]
        for name, share in probe["attainment"].items():
            assert share <= answer["idle"][name]["slo_attainment"]


def test_one_replica_is_what_simulate_simulates(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 30)
    (search,) = found(run(trace, "--policy", "sjf", "--format", "json"))["searches"]
    arguments = ["--config", trace.with_suffix(".yaml"), "--policy", "sjf", "--format", "json"]
    words = [str(word) for word in ("simulate", trace, "-q", *arguments)]
    (alone,) = json.loads(CliRunner().invoke(app, words).stdout)["runs"]
    (single,) = [probe for probe in search["probes"] if probe["replicas"] == 1]
    assert {name: alone[name] for name in alone if name in single} == {
        name: value for name, value in single.items() if name in alone
    }


def test_the_highest_load_and_who_carries_more(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 60)
    arguments = ["--find", "load", "--replicas", 2, "--step", 0.1, "--target", "all=0.8"]
    arguments += ["--policy", "fcfs", "--policy", "sjf"]
    answer = found(run(trace, *arguments, "--format", "json"))
    loads = {}
    for search in answer["searches"]:
        probes = {round(probe["load"], 6): probe["meets"] for probe in search["probes"]}
        loads[search["policy"]] = search["answer"]
        assert probes[search["answer"]]
        assert not probes[round(search["answer"] + 0.1, 6)]
        assert {probe["replicas"] for probe in search["probes"]} == {2}
    assert loads["fcfs"] < loads["sjf"]
    table = run(trace, *arguments).stdout
    assert f"sjf carries load {loads['sjf']:g} where fcfs carries load {loads['fcfs']:g}" in table
    assert "misses all" in table


def test_one_process_or_two_give_the_same_bytes(tmp_path: Path) -> None:
    """Law 4, whatever --jobs."""
    trace, written = trace_file(tmp_path, 40), tmp_path / "answer.json"
    arguments = ["--policy", "edf", "--target", "chat=0.9", "--format", "json", "--seed", 2]
    one = run(trace, *arguments, "-o", written)
    assert found(one)
    assert one.stdout == run(trace, *arguments, "--jobs", 2).stdout
    assert written.read_text(encoding="utf-8") + "\n" == one.stdout


def test_a_target_that_no_engine_can_meet_is_found_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = interrupted_after(monkeypatch, runs=0)
    text = "classes: {chat: {ttft_ms: 40}}\npredictor: {kind: oracle}\n"
    result = run(trace_file(tmp_path), "--target", "chat=0.99", text=text)
    assert result.exit_code == 1
    assert (
        "chat=0.99 cannot be met, whatever the number of engines: of 40 requests" in result.stdout
    )
    assert "misses chat" in result.stdout
    assert not begun
    answer = found(run(trace_file(tmp_path), "--format", "json", text=text), exit_code=1)
    assert (answer["unreachable"], answer["searches"]) == (["all"], [])


def test_too_few_replicas_allowed_is_a_finding(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 60, gap=0.02)
    result = run(trace, "--policy", "fcfs", "--target", "all=0.97", "--max-replicas", 2)
    assert result.exit_code == 1
    assert "fcfs: 2 replicas cannot meet all=0.97" in result.stdout
    slow = run(
        trace, "--policy", "fcfs", "--target", "all=0.97", "--find", "load", "--step", 3,
        "--max-load", 9,
    )  # fmt: skip
    assert slow.exit_code == 1
    assert "fcfs: load 3 cannot meet all=0.97" in slow.stdout


def test_more_replicas_than_requests(tmp_path: Path) -> None:
    """Some have nothing to do, and that is no fault."""
    answer = found(
        run(trace_file(tmp_path, 2), "--policy", "sjf", "--routing", "random", "--format", "json")
    )
    assert answer["searches"][0]["answer"] == 1


def test_ctrl_c_keeps_the_probes_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(monkeypatch, runs=3)
    trace = trace_file(tmp_path, 60)
    arguments = ["--policy", "fcfs", "--target", "all=0.9", "--format", "json"]
    result = run(trace, *arguments)
    answer = found(result, exit_code=130)
    (search,) = answer["searches"]
    assert search["interrupted"]
    assert [probe["replicas"] for probe in search["probes"]] == [1, 2]
    assert result.stderr == "interrupted\n"
    monkeypatch.undo()
    interrupted_after(monkeypatch, runs=0)
    nothing = run(trace, *arguments)
    assert (nothing.exit_code, nothing.stdout) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--target", "chat"), "--target chat: must be CLASS=SHARE, as in all=0.95"),
        (("--target", "chta=0.9"), "--target chta=0.9: no class 'chta', did you mean chat?"),
        (("--target", "chat=95"), "--target chat=95: must be above 0 and up to 1, as in chat=0.95"),
        (("--target", "chat=nan"), "must be above 0 and up to 1"),
        (("--target", "idle=0.9"), "the trace has no request of class idle"),
        (("--replicas", "3"), "--replicas is what is looked for: leave it out"),
        (("--find", "load", "--load", "2"), "--load is what is looked for: leave it out"),
        (("--load", "-1"), "--load must be greater than 0 and finite, got -1"),
        (("--policy", "fcsf"), "unknown policy 'fcsf', did you mean fcfs?"),
        (("-o", "/no/such/folder/x.json"), "/no/such/folder/x.json: no such folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    text = "classes: {chat: {ttft_ms: 1000}, idle: {e2e_ms: 9}}\n"
    result = run(trace_file(tmp_path, 5), *arguments, text=text)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_a_class_called_all_is_refused(tmp_path: Path) -> None:
    result = run(trace_file(tmp_path, 5), text="classes: {all: {ttft_ms: 1000}}\n")
    assert result.exit_code == 2
    assert "classes.all" in result.stderr
