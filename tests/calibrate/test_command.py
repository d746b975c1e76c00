"""`slosched calibrate` against a fake server with faults: what is written, and what is not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slosched import LinearLatency
from slosched.cli.main import app
from slosched.config.profile import load_profile
from tests.engines.fake_server import FakeServer, serving

ENGINE = LinearLatency(2e-3, 2e-5, 1e-4, 0.0)
BRIEF = (
    "--longest", 32, "--quick", "--seconds", 5, "--max-num-seqs", 4,
    "--max-num-batched-tokens", 256,
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_a_profile_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    output = tmp_path / "profile.yaml"
    with serving(FakeServer(latency=ENGINE)) as server:
        result = run(
            server.url, "-o", output, *BRIEF, "--seed", 3, "--hardware", "h", "--format", "json"
        )
    assert result.exit_code == 0, result.output
    assert "measuring prompts up to 32 tokens, once, about" in result.stderr
    found = load_profile(str(output))
    assert found.base_ms > 0
    assert found.overhead_ms is not None
    assert found.engine.model_dump() == {
        "max_num_seqs": 4, "max_num_batched_tokens": 256, "block_size": 32, "num_kv_blocks": 728,
        "max_model_len": 2048,
    }  # fmt: skip
    assert found.engine_known_from["max_num_seqs"] == "given"
    assert found.engine_known_from["block_size"] == "asked"
    assert found.versions["vllm"] == "0.32.0"
    assert (found.model, found.hardware, found.date) == ("fake", "h", "1970-01-02T00:00:00Z")
    assert found.source.endswith("prompts up to 32 tokens, seed 3")
    assert set(found.relative_error) == {"prefill", "decode", "mixed", "burst"}
    assert found.detail is not None
    assert found.detail.sequences_ms.keys() >= {1, 4}
    printed = json.loads(result.stdout)
    assert printed["profile"]["detail"]["base_ms"] == found.detail.base_ms
    assert printed["profile"]["base_ms"] == found.base_ms
    assert {m["regime"] for m in printed["measurements"]} == set(found.relative_error)


def test_without_a_file_the_fit_is_shown(tmp_path: Path) -> None:
    with serving(FakeServer(latency=ENGINE)) as server:
        result = run(server.url, *BRIEF, "-q")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "error, decode" in result.stdout
    assert "error in detail" in result.stdout
    assert "max_num_seqs" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("server", "code", "complaint"),
    [
        (FakeServer(lambda n: "die" if n == 9 else ""), 1, "failed while it was measured: dis"),
        (FakeServer(lambda n: "500" if n == 9 else ""), 1, "failed while it was measured: 500"),
        (FakeServer(lambda _: "garbage"), 1, "failed while it was measured: malformed"),
        (FakeServer(lambda _: "no usage"), 2, "does not count tokens as vLLM does"),
        (FakeServer(extra_metrics="vllm:num_requests_running 2.0\n"), 2, "serves 2 requests"),
    ],
    ids=["dies", "fails", "garbage", "does not count", "is busy"],
)
def test_a_failure_is_one_line_and_no_file(
    tmp_path: Path, server: FakeServer, code: int, complaint: str
) -> None:
    server.latency = ENGINE
    with serving(server):
        result = run(server.url, "-o", tmp_path / "profile.yaml", *BRIEF, "-q")
    assert result.exit_code == code, result.output
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nobody_there_is_wrong_use(tmp_path: Path) -> None:
    result = run("http://127.0.0.1:9", "-o", tmp_path / "profile.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: http://127.0.0.1:9/v1/models: ")
    result = run("http://127.0.0.1:9/v1")
    assert "URL: give the server's root, without /v1" in result.stderr


def test_a_wrong_date_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    result = run("http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "SOURCE_DATE_EPOCH must be whole seconds since 1970, got yesterday" in result.stderr


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    server = FakeServer(latency=ENGINE)
    with serving(server):
        command = [sys.executable, "-m", "slosched.cli.main", "calibrate", server.url]
        command += ["-o", str(tmp_path / "profile.yaml"), *map(str, BRIEF)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for _ in range(12):
            assert server.begun.acquire(timeout=60)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.endswith("interrupted\n")
    assert not list(tmp_path.iterdir())
