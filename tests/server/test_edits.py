"""Edits that are made here reach the engine's own process."""

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from slosched.config.live import LiveConfig
from slosched.core.errors import ConfigError
from slosched.vllm import environment
from slosched_server.control import Control
from slosched_server.edits import edits_file

HANG_S = 60
YAML = "classes: {one: {ttft_ms: 1000}}\npolicy: {kind: fcfs}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(YAML)
    return path


def control_of(config: Path, tell: object = None) -> Control:
    return Control(LiveConfig(config, [], queue=False), tell)  # type: ignore[arg-type]


def test_the_engine_reads_the_edits_that_were_made_here(config: Path) -> None:
    with edits_file() as edits:
        control = control_of(config, edits.write)
        environ = {environment.CONFIG: str(config), **edits.environment}
        assert environment.settings(environ).policy.kind == "fcfs"
        control.edit(["policy.kind=edf", "classes.one.ttft_ms=5"])
        assert environment.settings(environ).policy.kind == "edf"
        assert environment.settings(environ).classes["one"].ttft_ms == 5
        control.edit([])
        assert environment.settings(environ).policy.kind == "fcfs"
        assert stat.S_IMODE(edits.path.parent.stat().st_mode) == 0o700
        assert environment.files(environ) == [config, edits.path]
    assert not edits.path.parent.exists()


def test_what_does_not_fit_is_told_to_nobody(config: Path) -> None:
    told: list[Sequence[str]] = []
    control = control_of(config, told.append)
    before = control.in_force.rules
    with pytest.raises(ConfigError, match="did you mean ttft_ms"):
        control.edit(["classes.one.ttf_ms=5"])
    assert told == []
    assert control.in_force.rules is before


def test_broken_edits_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"edits\.json: must be a JSON list"):
        environment.settings({environment.EDITS: str(path)})
