"""What containers run takes the arguments that they are given."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer.main

from slosched.cli.main import app
from slosched.config.load import load
from slosched.version import __version__
from tests.deploy.manifests import (
    EVERYTHING,
    OVERLAYS,
    Object,
    containers,
    of_kind,
    ports,
    rendered,
)

COMMANDS = typer.main.get_group(app).commands

# vLLM's own parser, in a process of its own: it warns of much, and takes seconds to be imported.
_PARSE = """
import json, sys
import slosched.vllm.launch as launch
if launch.is_cpu_build():
    launch.answer_for_vllm()
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
names = ("host", "port", "scheduler_cls", "shutdown_timeout")
print(json.dumps({name: getattr(parsed, name) for name in names}))
"""


@pytest.fixture(params=[*OVERLAYS, EVERYTHING])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_configuration_is_one_for_the_engine_that_runs(overlay: str, tmp_path: Path) -> None:
    settings = load(_configuration(overlay, tmp_path))
    assert set(settings.classes) == {"interactive", "completion", "batch"}
    assert f"--max-num-seqs={settings.engine.max_num_seqs}" in _vllm(overlay)["args"]


def test_vllm_takes_its_arguments(overlay: str) -> None:
    container = _vllm(overlay)
    assert container["command"] == ["with-kernels", "python3", "-m", "slosched.vllm.launch"]
    assert _parsed(tuple(container["args"])) == {
        "host": "0.0.0.0",
        "port": ports(container)["http"],
        "scheduler_cls": "slosched.vllm.SloScheduler",
        "shutdown_timeout": 300,
    }


@cache
def _parsed(arguments: tuple[str, ...]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_picker_takes_its_arguments(overlay: str) -> None:
    name, *arguments = containers(rendered(overlay))["slosched-picker"]["args"]
    known = {word for option in COMMANDS[name].params for word in option.opts}
    assert {argument.partition("=")[0] for argument in arguments} <= known


def test_the_picker_listens_where_it_is_looked_for(overlay: str) -> None:
    usual = {option.name: option.default for option in COMMANDS["picker"].params}
    assert ports(containers(rendered(overlay))["slosched-picker"]) == {
        "grpc": usual["port"],
        "health": usual["health_port"],
        "metrics": usual["metrics_port"],
    }


def _vllm(overlay: str) -> Object:
    return containers(rendered(overlay))["vllm"]


def _configuration(overlay: str, folder: Path) -> Path:
    text = of_kind(rendered(overlay), "ConfigMap")["slosched"]["data"]["slosched.yaml"]
    file = folder / "slosched.yaml"
    file.write_text(text)
    return file


def test_images_are_of_this_version(overlay: str) -> None:
    images = {name: one["image"] for name, one in containers(rendered(overlay)).items()}
    images.pop("envoy", None)
    engine = "slosched-vllm-cpu" if overlay == "cpu" else "slosched-vllm"
    assert images == {
        "slosched-picker": f"slosched:{__version__}",
        "vllm": f"{engine}:{__version__}",
    }
