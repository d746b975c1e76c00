"""`slosched bench` against a fake server with faults: what is printed, written, and returned."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched import LinearLatency
from slosched.cli.main import app
from tests.engines.fake_server import FakeServer, serving

CONFIG = """
classes:
  chat: {ttft_ms: 60000, weight: 3}
  batch: {e2e_ms: 60000}
  hopeless: {e2e_ms: 0.001}
default_class: batch
"""
SLOW = LinearLatency(0.02, 0, 0, 0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def made_trace(folder: Path, n: int = 10, every_ms: float = 5, **fields: object) -> Path:
    path = folder / "trace.jsonl"
    lines = [
        json.dumps({"timestamp": i * every_ms, "input_length": 4 + i, "output_length": 3, **fields})
        for i in range(n)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def bench(
    server: FakeServer, tmp_path: Path, config: Path, *arguments: object, **trace: Any
) -> tuple[Result, dict[str, Any]]:
    """Run the command against a server; return what it did and what it wrote."""
    output = tmp_path / "out.json"
    with serving(server):
        result = run(
            server.url, made_trace(tmp_path, **trace), "--config", config, "-o", output, *arguments
        )
    return result, json.loads(output.read_bytes()) if output.exists() else {}


def test_a_replay_has_the_format_of_results(tmp_path: Path, config: Path) -> None:
    server = FakeServer(extra_metrics='slosched_solve_seconds_count{solver="edf"} 0\n')
    result, written = bench(
        server, tmp_path, config, "--requests", "--label", "mine", "--hardware", "h1",
        "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == written
    assert {
        "duration", "completed", "failed", "request_throughput", "request_goodput",
        "output_throughput", "total_token_throughput", "total_input_tokens", "total_output_tokens",
        "mean_ttft_ms", "median_tpot_ms", "std_itl_ms", "p99_e2el_ms", "slo_attainment",
        "weighted_attainment", "per_class", "policy", "config", "seed", "version", "hardware",
        "load", "trace", "model_id", "date", "schedule_lag_ms", "client_lag_ms", "errors",
    } <= written.keys()  # fmt: skip
    assert (written["policy"], written["hardware"], written["model_id"]) == ("mine", "h1", "fake")
    assert (written["completed"], written["failed"], written["shed"]) == (10, 0, 0)
    assert written["total_input_tokens"] == sum(range(4, 14))
    assert written["output_lens"] == [3] * 10
    assert written["outcomes"] == ["finished"] * 10
    assert written["slo_attainment"] == 1.0
    assert [len(body["prompt"]) for body in server.bodies[1:]] == list(range(4, 14))
    assert {headers["x-slo-class"] for headers in server.headers} == {"batch"}


def test_own_limits_and_classes_are_asked_for(tmp_path: Path, config: Path) -> None:
    server = FakeServer()
    result, written = bench(
        server, tmp_path, config, "--warm-up", 0, slo_class="chat", ttft_ms=59000, n=2
    )
    assert result.exit_code == 0
    assert "fake" in result.stdout
    assert list(written["per_class"]) == ["chat"]
    for headers in server.headers:
        assert headers["x-slo-class"] == "chat"
        assert headers["x-slo-ttft-ms"] == "59000"


def test_untagged_natural_chat_with_a_key(tmp_path: Path, config: Path) -> None:
    server = FakeServer(owner="somebody")
    result, written = bench(
        server, tmp_path, config, "--no-tags", "--natural", "--endpoint", "chat", "--api-key", "k",
        n=3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert written["uncounted"] == 0
    assert written["policy"] == "somebody"
    for headers, body in zip(server.headers, server.bodies, strict=True):
        assert not [name for name in headers if name.startswith("x-slo")]
        assert headers["authorization"] == "Bearer k"
        assert "ignore_eos" not in body
        assert "continuous_usage_stats" not in body["stream_options"]
        assert body["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("500", "500"), ("garbage", "malformed"), ("cut", "disconnected"), ("empty", "empty"),
        ("stream error", "500"), ("hang", "timeout"),
    ],
)  # fmt: skip
def test_errors_are_counted_by_kind(tmp_path: Path, config: Path, fault: str, kind: str) -> None:
    """Request 0 is the warm-up; the third of the trace goes wrong, and no other does."""
    server = FakeServer(lambda n: fault if n == 3 else "")
    options = ("--timeout", 1) if fault == "hang" else ()
    result, written = bench(server, tmp_path, config, "--requests", *options, n=5)
    assert result.exit_code == 0, result.output
    assert written["errors"] == {kind: 1}
    assert (written["completed"], written["failed"]) == (4, 1)
    assert written["slo_met"] == [True, True, False, True, True]
    assert written["ttfts_ms"][2] is None
    assert f"1 x {kind}: " in result.stderr


def test_what_is_shed_has_not_failed(tmp_path: Path, config: Path) -> None:
    server = FakeServer(lambda n: "429" if n in (2, 4) else "")
    result, written = bench(server, tmp_path, config, "--fail-under", 0.9, n=5)
    assert (written["completed"], written["failed"], written["shed"]) == (3, 0, 2)
    assert written["errors"] == {"429": 2}
    assert result.exit_code == 1
    assert "failed: 0.600 of SLOs met, --fail-under 0.9" in result.stderr


@pytest.mark.parametrize("fault", ["no usage", "late usage", "two at once"])
def test_tokens_are_counted_whatever_the_server_says(
    tmp_path: Path, config: Path, fault: str
) -> None:
    result, written = bench(FakeServer(lambda _: fault), tmp_path, config, "--requests", n=3)
    assert result.exit_code == 0
    assert written["output_lens"] == [3] * 3
    # An answer that ended for its length is as long as it was allowed to be.
    assert written["uncounted"] == 0


def test_the_gate_weighs_classes(tmp_path: Path, config: Path) -> None:
    trace = tmp_path / "two.jsonl"
    lines = [
        {"timestamp": 0, "input_length": 4, "output_length": 2, "slo_class": name}
        for name in ("chat", "hopeless")
    ]
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with serving(FakeServer()) as server:
        for gate, code in ((0.75, 0), (0.76, 1)):
            result = run(server.url, trace, "--config", config, "--fail-under", gate)
            assert result.exit_code == code, result.output


def test_a_server_that_dies_fails_the_rest_at_once(tmp_path: Path, config: Path) -> None:
    """The trace goes on for an hour; the replay does not."""
    server = FakeServer(lambda n: "die" if n == 3 else "")
    trace = tmp_path / "long.jsonl"
    lines = [
        {"timestamp": at, "input_length": 4, "output_length": 2}
        for at in (0, 5, 10, 15, 20, 3_600_000)
    ]
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    output = tmp_path / "out.json"
    with serving(server):
        result = run(server.url, trace, "--config", config, "-o", output)
    written = json.loads(output.read_bytes())
    assert result.exit_code == (0 if written["completed"] else 1)
    assert written["completed"] + written["failed"] == 6
    assert written["errors"]["unreachable"] >= 1
    assert written["unfinished"] == written["unsent"] == 0


def test_a_server_that_serves_nothing_is_a_finding(tmp_path: Path, config: Path) -> None:
    result, written = bench(FakeServer(lambda _: "503"), tmp_path, config, "--warm-up", 0, n=3)
    assert result.exit_code == 1
    assert "error: no request was served" in result.stderr
    assert written["errors"] == {"503": 3}


def test_a_server_that_refuses_the_first_request_is_wrong_use(tmp_path: Path, config: Path) -> None:
    result, written = bench(FakeServer(lambda _: "401"), tmp_path, config)
    assert result.exit_code == 2
    assert "the first request failed: 401: fault 401" in result.stderr
    assert not written


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("http://127.0.0.1:9/v1",), "URL: give the server's root, without /v1"),
        (("127.0.0.1:9",), "URL: must be like http://127.0.0.1:8001"),
        (("http://127.0.0.1:9",), "error: http://127.0.0.1:9/v1/models: "),
        (("http://127.0.0.1:9", "--load", "0"), "--load must be greater than 0"),
        (("http://127.0.0.1:9", "--timeout", "-1"), "--timeout must be greater than 0"),
        (("http://127.0.0.1:9", "-o", "/nowhere/x.json"), "no such folder: /nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    url, *options = arguments
    result = run(url, made_trace(tmp_path), *options)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_wrong_models_and_ids_are_refused(tmp_path: Path) -> None:
    with serving(FakeServer()) as server:
        for option, value, complaint in (
            ("--model", "fakes", "serves no 'fakes', did you mean fake?"),
            ("--token-ids", "7", "--token-ids must be like 1000-30000"),
        ):
            result = run(server.url, made_trace(tmp_path), option, value)
            assert result.exit_code == 2
            assert complaint in result.stderr
        assert not server.bodies


@pytest.mark.parametrize("served", [0, 3])
def test_ctrl_c_sums_up_what_came_back(tmp_path: Path, config: Path, served: int) -> None:
    """In a process of its own, as a terminal does it: a signal in the middle."""
    output = tmp_path / "out.json"
    server = FakeServer(lambda n: "hang" if n > served else "")
    with serving(server):
        command = [sys.executable, "-m", "slosched.cli.main", "bench", server.url]
        command += [str(made_trace(tmp_path, n=9, every_ms=20)), "--config", str(config)]
        process = subprocess.Popen([*command, "-o", str(output)], stderr=subprocess.PIPE, text=True)
        for _ in range(served + 3):  # the warm-up, those that are served, and two that hang
            assert server.begun.acquire(timeout=60)
        threading.Event().wait(0.3)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    written = json.loads(output.read_bytes())
    assert written["completed"] == served
    assert written["unfinished"] >= 2
    assert written["completed"] + written["unfinished"] + written["unsent"] == 9
    assert written["failed"] == 0
    assert f"interrupted: {9 - served} of 9 requests were left" in stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out.json.")]


def test_means_over_nobody_are_none(tmp_path: Path, config: Path) -> None:
    server = FakeServer(lambda n: "hang" if n else "", latency=SLOW)
    result, written = bench(server, tmp_path, config, "--timeout", 0.2, n=2)
    assert result.exit_code == 1
    assert written["errors"] == {"timeout": 2}
    assert written["mean_ttft_ms"] is None
