"""What Dockerfiles copy and install is there, and goes with the pods that run them."""

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import containers, ports, rendered

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*Dockerfile"))
OF = {"slosched": "Dockerfile", "slosched-vllm": "vllm.Dockerfile"}
OF["slosched-vllm-cpu"] = "vllm-cpu.Dockerfile"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_is_copied_is_sent_to_the_builder(file: Path) -> None:
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", file.read_text(), re.MULTILINE)
    assert copied
    names = [word for word in " ".join(copied).split() if not word.startswith("--")]
    for name in names:
        assert (ROOT / name).exists()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_the_extras_that_are_installed_exist(file: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r'"\.\[(.*)\]"', file.read_text()):
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_the_base_image_is_of_a_vllm_that_is_supported() -> None:
    text = (ROOT / "deploy" / "vllm.Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"^FROM vllm/vllm-openai:v(\d+\.\d+)", text, re.MULTILINE)
    assert f"vllm>={version}," in project["optional-dependencies"]["gpu"][0]


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["slosched-picker", "vllm"])
def test_images_are_what_pods_take_them_for(overlay: str, name: str) -> None:
    container = containers(rendered(overlay))[name]
    text = (ROOT / "deploy" / OF[container["image"].partition(":")[0]]).read_text()
    (exposed,) = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert set(ports(container).values()) <= set(map(int, exposed.split()))
    if "command" not in container:  # its arguments go to the image's own
        assert 'ENTRYPOINT ["with-kernels", "slosched"]' in text
    # Compiled kernels go where the file system is not read-only.
    (kernels,) = re.findall(r"^(?:ENV|   ) NUMBA_CACHE_DIR=(\S+)", text, re.MULTILINE)
    assert str(Path(kernels).parent) in {one["mountPath"] for one in container["volumeMounts"]}


def test_kernels_are_handed_on_and_the_command_runs_in_any_case(tmp_path: Path) -> None:
    brought, place = tmp_path / "brought", tmp_path / "made" / "here"
    brought.mkdir()
    (brought / "kernel.nbi").write_text("compiled")
    script = tmp_path / "with-kernels"
    text = (ROOT / "deploy" / "with-kernels.sh").read_text()
    script.write_text(text.replace("/opt/slosched-kernels", str(brought)))
    for folder in (place, Path("/proc/none")):
        done = subprocess.run(
            ["/bin/sh", str(script), "echo", "a  b"],
            env={"NUMBA_CACHE_DIR": str(folder), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "a  b\n"
    assert (place / "kernel.nbi").read_text() == "compiled"
    # As root writes it, and somebody else reads it.
    assert text.startswith("#!/bin/sh\n")


def test_what_is_compiled_for_images_can_be_planned_with() -> None:
    """The kernels that the tests have compiled already are taken: all of it would take a minute."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / "compile_kernels.py")], check=True)
