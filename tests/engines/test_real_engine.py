"""`bench` and `calibrate` against vLLM itself, with nothing faked but the weights."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from slosched.client.connection import Connection
from slosched.client.server import metrics, total
from slosched.config.profile import load_profile
from tests.engines.real_server import CONFIG, serving

pytestmark = pytest.mark.engine
BLOCK = 512


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def written(folder: Path, *requests: dict[str, object]) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, requests)), encoding="utf-8")
    return path


def metric(url: str, name: str) -> float:
    async def asked() -> float:
        async with Connection(url) as connection:
            return total(await metrics(connection), name) or 0.0

    return asyncio.run(asked())


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_a_replay_has_the_traces_lengths(
    url: str, tmp_path: Path, config: Path, endpoint: str
) -> None:
    trace = written(
        tmp_path,
        {"timestamp": 0, "input_length": 40, "output_length": 12, "slo_class": "chat"},
        {"timestamp": 5, "input_length": 7, "output_length": 1, "ttft_ms": 59000},
        {"timestamp": 9, "input_length": 200, "output_length": 30, "priority": 2},
        {"timestamp": 9, "input_length": 5, "output_length": 9, "prompt": "why?"},
        {"timestamp": 20, "input_length": 2000, "output_length": 9},  # more than the model takes
    )
    output = tmp_path / "out.json"
    result = run(
        "bench", url, trace, "--config", config, "--endpoint", endpoint, "-o", output,
        "--requests", "-q",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_bytes())
    assert found["output_lens"][:4] == [12, 1, 30, 9]
    assert found["outcomes"] == ["finished"] * 4 + ["400"]
    assert found["errors"] == {"400": 1}
    assert found["per_class"].keys() == {"batch", "chat"}
    assert found["policy"] == "edf"
    assert (found["backend"], found["model_id"], found["uncounted"]) == ("vllm", "tiny", 0)
    if endpoint == "completions":
        assert found["input_lens"][:4] == [40, 7, 200, 4]
    for ttft, tpot, e2e, n in zip(
        found["ttfts_ms"][:4], found["tpots_ms"], found["e2els_ms"], found["output_lens"],
        strict=False,
    ):  # fmt: skip
        assert 0 < ttft <= e2e
        assert ttft + tpot * (n - 1) == pytest.approx(e2e)


def test_shared_hash_ids_are_found_in_the_prefix_cache(
    url: str, tmp_path: Path, config: Path
) -> None:
    def request(at: int, *hash_ids: int) -> dict[str, object]:
        length = BLOCK + 60
        return {
            "timestamp": at, "input_length": length, "output_length": 2, "hash_ids": hash_ids,
        }  # fmt: skip

    trace = written(tmp_path, request(0, 1, 2), request(900, 1, 3), request(900, 4, 5))
    for _ in range(2):  # the same prompts again are new to the server
        before = metric(url, "vllm:prefix_cache_hits_total")
        result = run("bench", url, trace, "--config", config, "-q", "--format", "json")
        assert json.loads(result.stdout)["completed"] == 3, result.output
        assert metric(url, "vllm:prefix_cache_hits_total") - before == BLOCK


def test_a_refused_tag_is_told_before_anything_counts(
    url: str, tmp_path: Path, config: Path
) -> None:
    config.write_text(CONFIG.replace("batch", "gold"), encoding="utf-8")
    trace = written(tmp_path, {"timestamp": 0, "input_length": 4, "output_length": 2})
    result = run("bench", url, trace, "--config", config, "-q")
    assert result.exit_code == 2
    assert "the first request failed: 400: x-slo-class: unknown class 'gold'" in result.stderr
    assert run("bench", url, trace, "--config", config, "-q", "--no-tags").exit_code == 0


def test_a_calibration_makes_a_profile_that_loads(url: str, tmp_path: Path) -> None:
    output = tmp_path / "profile.yaml"
    result = run(
        "calibrate", url, "--longest", 256, "--quick", "--seconds", 10, "-o", output, "-q",
        "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = load_profile(str(output))
    assert found.engine.max_num_seqs == 4
    assert (found.engine.block_size, found.engine.max_model_len) == (32, 1024)
    assert found.engine.num_kv_blocks
    assert found.engine_known_from["max_num_seqs"] == "measured"
    assert found.versions["vllm"].startswith("0.")
    assert set(found.relative_error) == {"prefill", "decode", "mixed", "burst"}
    measured: list[dict[str, Any]] = json.loads(result.stdout)["measurements"]
    # On a busy machine vLLM hands out several of so small a model's tokens at once, and some of
    # the widths do not show.
    assert [m for m in measured if m["regime"] == "decode" and m["what"].endswith("tokens")]
    assert all(m["measured_ms"] > 0 for m in measured)
