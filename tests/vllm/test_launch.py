"""The launcher's own decisions, and what importing the adapter costs."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import slosched.vllm
from slosched.core.errors import ConfigError
from slosched.vllm import environment, launch


def test_without_vllm_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as stopped:
        launch.main()
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert 'pip install ".[gpu]"' in said.err
    assert ".[cpu]" in said.err


def test_cpu_defaults_leave_the_users_own() -> None:
    environ = {"VLLM_NO_USAGE_STATS": "0"}
    launch.set_cpu_defaults(environ, ["--model", "m"])
    assert environ["VLLM_NO_USAGE_STATS"] == "0"
    assert environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environ["VLLM_CPU_KVCACHE_SPACE"] == "1"


@pytest.mark.parametrize("flag", ["--gpu-memory-utilization=0.5", "--kv_cache_memory_bytes"])
def test_flags_decide_over_the_default_kv_space(flag: str) -> None:
    environ: dict[str, str] = {}
    launch.set_cpu_defaults(environ, [flag])
    assert "VLLM_CPU_KVCACHE_SPACE" not in environ


def test_cpu_build_answers_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(distribution_name: str) -> str:
        if distribution_name == "vllm-cpu":
            return "0.32.0"
        raise importlib.metadata.PackageNotFoundError(distribution_name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert launch.is_cpu_build()
    launch.answer_for_vllm()
    assert importlib.metadata.version("vllm") == "0.32.0+cpu"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("nonesuch")


def test_gpu_build_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.32.0")
    assert not launch.is_cpu_build()


def test_metrics_directory_is_fresh_and_the_users_own_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_exit: list[tuple[object, ...]] = []
    monkeypatch.setattr("atexit.register", lambda *args, **_: at_exit.append(args))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environ: dict[str, str] = {}
    launch.share_metrics(environ)
    directory = environ["PROMETHEUS_MULTIPROC_DIR"]
    assert not list(Path(directory).iterdir())
    assert at_exit[0][1] == directory
    launch.share_metrics(environ)
    assert environ["PROMETHEUS_MULTIPROC_DIR"] == directory


def test_importing_the_adapter_imports_no_vllm() -> None:
    code = "import sys, slosched.vllm, slosched.vllm.launch, slosched.vllm.middleware\n"
    code += "sys.exit('vllm' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_that_vllm_is_given_exist() -> None:
    assert slosched.vllm.SloScheduler.__name__ == "SloScheduler"
    assert slosched.vllm.SloMiddleware.__name__ == "SloMiddleware"
    with pytest.raises(AttributeError, match="SloSchedular"):
        _ = slosched.vllm.SloSchedular


@pytest.mark.parametrize("text", ["policy.kind=edf", '{"a": 1}', "[1]"])
def test_overrides_must_be_a_list_of_strings(text: str) -> None:
    with pytest.raises(ConfigError, match="SLOSCHED_SET: must be a JSON list of strings"):
        environment.settings({"SLOSCHED_SET": text})


def test_environment_names_file_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text("classes: {fast: {ttft_ms: 100}, slow: {e2e_ms: 9000}}\n")
    environ = {"SLOSCHED_CONFIG": str(path), "SLOSCHED_SET": '["policy.kind=edf"]'}
    configured = environment.settings(environ)
    assert configured.tagger().from_xargs(None).slo_class == "fast"
    assert configured.planner().kind == "edf"
