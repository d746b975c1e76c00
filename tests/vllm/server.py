"""Tier C: vLLM's own server in a process of its own, and a client of few words."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil

from tests.predictors.parts import bge_small

ROOT = Path(__file__).parents[2]
CONFIG = """\
classes:
  interactive: {ttft_ms: 1000}
  batch: {e2e_ms: 30000, service_tier: flex}
default_class: batch
policy: {kind: edf}
predictor: {kind: encoder, model: sharegpt, encoder: ENCODER}
request_log: {path: requests.jsonl, texts: true}
"""


@dataclass
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    scratch: Path
    log: Path
    open: list[HTTPConnection] = field(default_factory=list)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.open.append(connection)
        content = {"content-type": "application/json", **(headers or {})}
        connection.request(method, path, None if body is None else json.dumps(body), content)
        return connection.getresponse()

    def chat(self, headers: Mapping[str, str] | None = None, **options: Any) -> HTTPResponse:
        messages = [{"role": "user", "content": options.pop("content", "hello")}]
        body = {"model": "tiny", "messages": messages, "max_tokens": 5, **options}
        return self.request("POST", "/v1/chat/completions", body, headers)

    def disconnect(self, response: HTTPResponse) -> None:
        """Go away in the middle of an answer."""
        response.close()
        self.open[-1].close()

    def metrics(self, prefix: str) -> dict[str, float]:
        """Samples whose name starts with `prefix`, by name and labels, summed over engines."""
        text = self.request("GET", "/metrics").read().decode()
        lines = [line for line in text.splitlines() if line.startswith(prefix)]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def until(self, name: str, value: float, patience: float = 60.0) -> None:
        """Wait for the sum of a metric to take a value."""
        deadline = time.monotonic() + patience
        while (found := sum(self.metrics(name).values())) != value:
            assert time.monotonic() < deadline, f"{name} is {found}, never became {value}"
            time.sleep(0.05)


@contextmanager
def serving(model: Path, scratch: Path, *more: str, **others: str) -> Iterator[Server]:
    """Start the server, with more flags or others; stop whatever is left of it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (scratch / "slo.yaml").write_text(CONFIG.replace("ENCODER", str(bge_small())))
    environ = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    environ |= {"SLOSCHED_CONFIG": str(scratch / "slo.yaml"), "TMPDIR": str(scratch)}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    flags = {
        "model": str(model),
        "served-model-name": "tiny",
        "dtype": "float32",
        "max-model-len": "2048",
        "max-num-seqs": "1",
        "max-num-batched-tokens": "128",
        "block-size": "32",
        "host": "127.0.0.1",
        "port": str(port),
        "scheduler-cls": "slosched.vllm.SloScheduler",
        "middleware": "slosched.vllm.SloMiddleware",
        **{name.replace("_", "-"): value for name, value in others.items()},
    }
    command = [sys.executable, "-m", "slosched.vllm.launch", "--enforce-eager", *more]
    command += [f"--{name}={value}" for name, value in flags.items()]
    log = scratch / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=scratch)
    server = Server(port, process, scratch, log)
    try:
        _wait(server)
        yield server
    finally:
        family = _family(process.pid)
        for member in family:
            member.kill()
        psutil.wait_procs(family, timeout=30)
        process.wait(30)
        for connection in server.open:
            connection.close()


def family_of(server: Server) -> list[psutil.Process]:
    """The server's process and all below it."""
    return _family(server.process.pid)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 180
    while True:
        assert server.process.poll() is None, server.log.read_text()[-5000:]
        assert time.monotonic() < deadline, server.log.read_text()[-5000:]
        try:
            if server.request("GET", "/health").status == 200:
                return
        except OSError:
            time.sleep(0.2)
