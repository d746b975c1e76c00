"""What tests on a cluster share."""

import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cluster.loopback import subnet
from tests.cluster.measured import Measured
from tests.cluster.objects import PORT, engine_command
from tests.cluster.programs import kept

PATIENCE_S = 600.0
PICKER_PORT = 9090
_MEASURED = pytest.StashKey[Measured]()


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Measured:
    """Take down times and counts; all are printed in the end."""
    return pytestconfig.stash.setdefault(_MEASURED, Measured())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was measured."""
    if _MEASURED in config.stash:
        terminalreporter.section("measured")
        for line in config.stash[_MEASURED].lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start an engine and a picker once: minutes of compiling, which pods read from a cache."""
    log: Path = tmp_path_factory.mktemp("compiled") / "log"
    with subnet() as prefix:
        host = f"{prefix}.0.2"
        engine = [part.replace("$(POD_IP)", host) for part in engine_command()]
        _start_once(engine, host, PORT, log)
        slosched = [sys.executable, "-m", "slosched"]
        upstream = f"http://{host}:{PORT}"
        picker = [*slosched, "picker", "--upstream", upstream, "--host", host]
        _start_once(picker, host, PICKER_PORT, log)


def _start_once(command: list[str], host: str, port: int, log: Path) -> None:
    with log.open("ab") as out, subprocess.Popen(command, env=kept(), stdout=out, stderr=out) as it:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _answers(host, port):
                assert it.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        finally:
            it.terminate()


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
