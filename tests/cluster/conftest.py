"""What tests on a cluster share."""

import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cluster.loopback import subnet
from tests.cluster.objects import PORT, engine_command
from tests.cluster.programs import kept

PATIENCE_S = 600.0


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start a simulated engine once: a minute of compiling, which pods then read from a cache."""
    log: Path = tmp_path_factory.mktemp("compiled") / "log"
    with subnet() as prefix, log.open("wb") as out:
        host = f"{prefix}.0.2"
        command = [part.replace("$(POD_IP)", host) for part in engine_command()]
        with subprocess.Popen(command, env=kept(), stdout=out, stderr=out) as process:
            try:
                deadline = time.monotonic() + PATIENCE_S
                while not _answers(host):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.2)
            finally:
                process.terminate()


def _answers(host: str) -> bool:
    connection = HTTPConnection(host, PORT, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
