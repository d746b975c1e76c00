"""What deploy/ holds is what its tools take, and goes with the defaults."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slosched.config.load import load
from slosched_server.settings import ServerSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
DOCKERFILES = sorted(DEPLOY.glob("*Dockerfile"))


def test_the_example_is_a_configuration() -> None:
    assert len(load(DEPLOY / "slosched.yaml").fleet.replicas) == 2


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_waits_for_a_drain(unit: Path) -> None:
    text, usual = unit.read_text(), ServerSettings()
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(patience) > usual.drain_delay_s + usual.drain_timeout_s + 15
    assert "KillMode=mixed" in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    # Verification asks for the program, which is not installed here.
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/slosched/bin/slosched", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(here)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not HADOLINT, reason="needs hadolint")
@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_takes_the_dockerfiles(file: Path) -> None:
    subprocess.run([str(HADOLINT), str(file)], check=True)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_hold_no_secrets_and_run_without_rights(file: Path) -> None:
    text = file.read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert not re.search(r"(?i)(token|password|api_key)", text)
    assert "HEALTHCHECK" in text
