"""vLLM's own server with our scheduler and a tiny model, wide enough to be measured."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.vllm.tiny_model import write_tiny_model

CONFIG = """\
classes:
  chat: {ttft_ms: 60000}
  batch: {e2e_ms: 60000}
default_class: batch
policy: {kind: edf}
"""
FLAGS = {
    "served-model-name": "tiny",
    "dtype": "float32",
    "max-model-len": "1024",
    "max-num-seqs": "4",
    "max-num-batched-tokens": "128",
    "block-size": "32",
    "host": "127.0.0.1",
    "scheduler-cls": "slosched.vllm.SloScheduler",
    "middleware": "slosched.vllm.SloMiddleware",
}
PATIENCE_S = 180.0


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Start it; yield its address; end it and all below it."""
    model = write_tiny_model(folder / "tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "slo.yaml").write_text(CONFIG, encoding="utf-8")
    environ = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    environ |= {"SLOSCHED_CONFIG": str(folder / "slo.yaml"), "HF_HUB_OFFLINE": "1"}
    flags = FLAGS | {"model": str(model), "port": str(port)}
    command = [sys.executable, "-m", "slosched.vllm.launch", "--enforce-eager"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environ, stdout=out, stderr=out, cwd=folder, start_new_session=True
        )
    try:
        _wait(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text()[-5000:]
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
