"""`tune`: what it finds, what it calls better, and what it writes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from slosched.config.load import build, load, read
from tests.whatif.parts import interrupted_after, records, trace_file

# Under overload who ages too fast is first come, first served.
AGED = """\
# Two kinds of requests.
classes: {chat: {ttft_ms: 1000, weight: 2}, batch: {e2e_ms: 30000}}  # limits
policy:
  kind: aged_sjf  # as it was
  tokens_per_second: 5000
predictor: {kind: oracle}
engine: {max_num_seqs: 3}
workload:
  assign:
    - {share: 0.3, class: batch}
"""
AGES = ["--param", "policy.tokens_per_second=0.5..5000.0:log"]


def run(trace: Path, *arguments: object, text: str = AGED) -> Result:
    config = trace.with_suffix(".yaml")
    config.write_text(text, encoding="utf-8")
    words = ["tune", trace, "--config", config, "-q", "--trials", 9, *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def found(result: Result, exit_code: int = 0) -> dict[str, Any]:
    assert result.exit_code == exit_code, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_bad_value_is_found_and_judged_on_what_the_search_did_not_see(tmp_path: Path) -> None:
    trace, tuned = trace_file(tmp_path, 150), tmp_path / "tuned.yaml"
    answer = found(run(trace, *AGES, "-o", tuned, "--format", "json"))
    assert answer["requests"] == {"train": 90, "held_out": 52}
    assert answer["trials"][0] == {
        "number": 0, "values": {}, "weighted_attainment": [answer["train"]["now"]],
    }  # fmt: skip
    assert len(answer["trials"]) == 9
    tried = [t for t in answer["trials"] if t["number"] == answer["best"]]
    assert tried[0]["weighted_attainment"] == [answer["train"]["tuned"]]
    assert answer["train"]["tuned"] == max(t["weighted_attainment"][0] for t in answer["trials"])
    held_out = answer["held_out"]
    assert held_out["verdict"] == "better"
    assert 0 < held_out["low"] <= held_out["difference"] <= held_out["high"]
    (of_load,) = held_out["runs"]
    gained = of_load["tuned"]["weighted_attainment"] - of_load["now"]["weighted_attainment"]
    assert held_out["difference"] == pytest.approx(gained)
    value = answer["parameters"]["policy.tokens_per_second"]
    assert value["now"] == 5000 > value["tuned"] > 0
    written = tuned.read_text(encoding="utf-8")
    assert load(tuned) == build(
        read(trace.with_suffix(".yaml")), [f"policy.tokens_per_second={value['tuned']}"]
    )
    assert AGED.replace("5000", f"{value['tuned']}") in written, "comments and order stay"
    assert "# slosched 0.1.0 tune: 9 trials on made.csv" in written
    assert f"#   policy.tokens_per_second: 5000.0 -> {value['tuned']}" in written
    assert "# better on requests that the search did not see" in written
    assert CliRunner().invoke(app, ["config", "check", str(tuned)]).exit_code == 0


def test_what_gains_nothing_changes_nothing(tmp_path: Path) -> None:
    """Nothing queues: no value is better than another, and the first, as it was, stays."""
    trace, tuned = trace_file(tmp_path, 80, gap=30.0), tmp_path / "tuned.yaml"
    result = run(trace, *AGES, "-o", tuned)
    assert result.exit_code == 0
    assert "no trial of 9 was better than the configuration as it is" in result.stdout
    written = tuned.read_text(encoding="utf-8")
    assert written.endswith("\n" + AGED)
    assert "# nothing was changed; the best that was found:" in written


def test_processes_and_interruptions_change_no_byte(tmp_path: Path) -> None:
    """Law 4, whatever --jobs; and a study that goes on later ends as one that did not."""
    trace, study = trace_file(tmp_path, 80), tmp_path / "study"
    arguments = ["--load", 1, "--load", 2, *AGES, "--format", "json", "--seed", 4]
    once = run(trace, *arguments)
    assert found(once)["loads"] == [1.0, 2.0]
    assert run(trace, *arguments, "--jobs", 2).stdout == once.stdout
    for trials in (5, 9):
        later = run(trace, *arguments, "--study", study, "--trials", trials)
    assert later.stdout == once.stdout
    assert len(found(run(trace, *arguments, "--study", study, "--trials", 2))["trials"]) == 9
    assert run(trace, *arguments, "--seed", 5).stdout != once.stdout


def test_ctrl_c_keeps_the_best_so_far_and_still_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, study, tuned = trace_file(tmp_path, 80), tmp_path / "study", tmp_path / "tuned.yaml"
    arguments = [*AGES, "--format", "json", "--study", study, "-o", tuned]
    interrupted_after(monkeypatch, runs=4)
    result = run(trace, *arguments)
    answer = found(result, exit_code=130)
    assert answer["interrupted"]
    assert answer["held_out"] is None, "the next run is interrupted, too"
    assert len(answer["trials"]) == 4
    assert result.stderr == "interrupted after 4 of 9 trials\n"
    assert "held out: not compared" in tuned.read_text(encoding="utf-8")
    assert "tokens_per_second: 5000" in tuned.read_text(encoding="utf-8"), "nothing is proven"
    monkeypatch.undo()
    again = found(run(trace, *arguments))
    assert again["trials"][:4] == answer["trials"]
    assert len(again["trials"]) == 9
    interrupted_after(monkeypatch, runs=0)
    nothing = run(trace, *AGES)
    assert (nothing.exit_code, nothing.stdout) == (130, "")


def test_a_class_that_is_not_held_out_is_named(tmp_path: Path) -> None:
    trace = tmp_path / "made.jsonl"
    lines = [
        {
            "timestamp": record.time * 1e3,
            "input_length": record.input_tokens,
            "output_length": record.output_tokens,
            "slo_class": "batch" if i < 30 else "chat",
        }
        for i, record in enumerate(records(80, gap=0.05))
    ]
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    answer = found(run(trace, *AGES, "--format", "json"))
    assert answer["only_searched"] == ["batch"]
    assert answer["best"] > 0
    said = "note: no request that is held out is of class batch: take more of the trace"
    assert said in run(trace, *AGES).stdout


def test_time_that_is_over_ends_a_search(tmp_path: Path) -> None:
    answer = found(run(trace_file(tmp_path, 80), *AGES, "--seconds", 0, "--format", "json"))
    assert len(answer["trials"]) == 1
    assert answer["best"] == 0


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    trace, study = trace_file(tmp_path, 80), tmp_path / "study"
    arguments = [*AGES, "--study", study, "--trials", 1]
    assert run(trace, *arguments).exit_code == 0
    for other, name in (
        (["--load", 3], "loads, trace"),
        (["--seed", 3], "seed, trace"),
        (["--limit", 70], "trace"),
        (["--set", "engine.max_num_seqs=4"], "configuration"),
        (["--param", "engine.max_num_seqs=1..4"], "parameters"),
    ):
        result = run(trace, *arguments, *other)
        assert result.exit_code == 2
        assert f"was begun with another {name}; name another file" in result.stderr
    study.write_text("this is no study", encoding="utf-8")
    result = run(trace, *arguments)
    assert result.exit_code == 2
    assert f"--study {study}: is no study" in result.stderr


def test_values_that_do_not_fit_together_are_passed_over(tmp_path: Path) -> None:
    """As many slots as a step has tokens, and no more: each value fits by itself."""
    text = AGED.replace("max_num_seqs: 3", "max_num_seqs: 3, max_num_batched_tokens: 300")
    space = [
        "--param",
        "engine.max_num_seqs=1..250",
        "--param",
        "engine.max_num_batched_tokens=200..4000",
    ]
    answer = found(
        run(trace_file(tmp_path, 80), *space, "--format", "json", "--seed", 1, text=text)
    )
    assert len(answer["trials"]) == 9
    mine = [trial for trial in answer["trials"] if trial["values"]]
    for trial in mine:
        slots, tokens = trial["values"].values()
        assert (trial["weighted_attainment"] is None) == (tokens < slots)


def test_where_the_importance_is(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 80)
    space = [*AGES, "--param", "planner.patience_ms=900.0..1100.0"]
    answer = found(run(trace, *space, "--format", "json", "--trials", 30))
    parameters = answer["parameters"]
    age, patience = (
        parameters[path]["importance"]
        for path in ("policy.tokens_per_second", "planner.patience_ms")
    )
    assert age > patience
    assert age + patience == pytest.approx(1)
    table = run(trace, *space, "--trials", 30).stdout
    assert f"{100 * age:.0f}%" in table


def test_options_and_the_environment_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tuned is what is written, wherever it came from; without a file, too."""
    monkeypatch.setenv("SLOSCHED_ENGINE__MAX_NUM_SEQS", "5")
    trace, tuned = trace_file(tmp_path, 60), tmp_path / "tuned.yaml"
    words = ["tune", trace, "-q", "--policy", "aged_sjf", "--set", "predictor.kind=declared"]
    words += ["--set", "workload.assign=[{share: 0.5, class: batch}]", "-o", tuned, "--trials", 2]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    monkeypatch.delenv("SLOSCHED_ENGINE__MAX_NUM_SEQS")
    settings = load(tuned)
    assert settings.engine.max_num_seqs == 5
    assert (settings.policy.kind, settings.predictor.kind) == ("aged_sjf", "declared")
    assert settings.workload.assign[0].slo_class == "batch"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--policy", "fcfs"), "policy fcfs has nothing that is tuned by default"),
        (("--policy", "fcsf"), "unknown policy 'fcsf', did you mean fcfs?"),
        (("--param", "policy.window=1..9"), "--param policy.window: unknown field"),
        (("--load", "0"), "--load must be greater than 0 and finite, got 0"),
        (("--limit", "30"), "the training part has 18 of 30 requests"),
        (("--train", "0.9"), "the held-out part has 3 of 60 requests"),
        (("-o", "/no/such/folder/x.yaml"), "/no/such/folder/x.yaml: no such folder"),
        (("--study", "/no/such/folder/x"), "/no/such/folder/x: no such folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    result = run(trace_file(tmp_path, 60), *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_a_trace_is_not_overwritten(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, 60)
    before = trace.read_bytes()
    for option in ("-o", "--study"):
        result = run(trace, option, trace)
        assert result.exit_code == 2
        assert "is one of the traces" in result.stderr
    assert trace.read_bytes() == before


@pytest.mark.parametrize(
    ("module", "what"),
    [("optuna", "tune needs Optuna"), ("ruamel.yaml", "tune writes with ruamel")],
)
def test_what_is_not_installed_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, what: str
) -> None:
    begun = interrupted_after(monkeypatch, runs=0)
    monkeypatch.setitem(sys.modules, module, None)
    result = run(trace_file(tmp_path, 60), "-o", tmp_path / "tuned.yaml")
    assert result.exit_code == 2
    assert what in result.stderr
    assert "pip install 'slosched[tune]'" in result.stderr
    assert not begun
