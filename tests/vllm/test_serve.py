"""Tier C: `slosched serve` with a real vLLM, from the start to its death and back."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openai
import psutil
import pytest

pytestmark = pytest.mark.engine

CONFIG = """\
classes:
  interactive: {ttft_ms: 1000}
  batch: {e2e_ms: 30000, service_tier: flex}
policy: {kind: planned}
server: {on_engine_exit: restart}
"""
FLAGS = ["--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
FLAGS += ["--max-model-len", "2048", "--max-num-seqs", "2", "--block-size", "32"]
HANG_S = 180.0


class Served:
    """A running `slosched serve`."""

    def __init__(self, model: Path, scratch: Path) -> None:
        self.port, self.engine_port = _free_ports()
        self.config = scratch / "slosched.yaml"
        self.config.write_text(CONFIG, encoding="utf-8")
        self.log = scratch / "log"
        command = [sys.executable, "-m", "slosched.cli.main", "serve", str(model)]
        command += ["--config", str(self.config), "--port", str(self.port)]
        command += ["--engine-port", str(self.engine_port), "--", *FLAGS]
        environ = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0
        )

    def say(self, text: str, **extra: object) -> str:
        answer = self.client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": text}], max_tokens=6,
            temperature=0, **extra,  # type: ignore[call-overload]
        )  # fmt: skip
        return str(answer.choices[0].message.content)

    def until_ready(self) -> None:
        deadline = time.monotonic() + HANG_S
        while True:
            assert self.process.poll() is None, self.log.read_text()[-5000:]
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            with suppress(openai.OpenAIError):
                self.say("are you there?")
                return
            time.sleep(0.2)

    def until_reloaded(self, outcome: str, times: float) -> None:
        """Wait until the engine says that so many edits came to that."""
        wanted = f'slosched_config_reloads_total{{outcome="{outcome}"}} {times}'
        url, deadline = f"http://127.0.0.1:{self.engine_port}/metrics", time.monotonic() + HANG_S
        while True:
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            with urllib.request.urlopen(url, timeout=HANG_S) as page:
                if wanted in page.read().decode():
                    return
            time.sleep(0.1)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tiny_model, tmp_path_factory.mktemp("serve"))
    family: list[psutil.Process] = []
    try:
        server.until_ready()
        yield server
        family = server.family()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(HANG_S) == 0
        _, left = psutil.wait_procs(family, timeout=HANG_S)
        assert not left, "vLLM outlived slosched serve"
    finally:
        server.client.close()
        server.process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.process.wait(HANG_S)


def test_the_openai_client_is_served_in_every_class(served: Served) -> None:
    plain = served.say("hello")
    assert served.say("hello", extra_headers={"x-slo-class": "batch"}) == plain
    assert served.say("hello", extra_headers={"x-slo-e2e-ms": "5000"}) == plain
    assert served.say("hello", service_tier="flex") == plain
    streamed = served.client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=6,
        temperature=0, stream=True, extra_headers={"x-slo-class": "interactive"},
    )  # fmt: skip
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == plain
    assert [model.id for model in served.client.models.list()] == ["tiny"]


def test_a_wrong_tag_is_the_clients_error(served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.say("hello", extra_headers={"x-slo-class": "bach"})
    assert caught.value.param == "x-slo-class"
    assert "did you mean batch?" in caught.value.message


def test_edits_take_effect_while_requests_are_served(served: Served) -> None:
    """From plans to FCFS and back with another limit: nobody notices, but by the order."""
    questions = [f"what is {i}?" for i in range(6)]
    expected = [served.say(question) for question in questions]
    enough = threading.Event()

    def ask(_: int) -> int:
        rounds = 0
        while not enough.is_set():
            assert [served.say(question) for question in questions] == expected
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as clients:
        asking = clients.map(ask, range(4))
        try:
            served.config.write_text(CONFIG.replace("planned", "fcfs"))
            served.until_reloaded("applied", 1.0)
            served.config.write_text(CONFIG.replace("planned", "plnned"))
            served.until_reloaded("rejected", 1.0)
            served.config.write_text(CONFIG.replace("ttft_ms: 1000", "ttft_ms: 1"))
            served.until_reloaded("applied", 2.0)
        finally:
            enough.set()
        assert all(asking)
    assert [served.say(question) for question in questions] == expected
    assert "failed, going on without it" not in served.log.read_text(errors="replace")


def test_when_vllm_is_killed_clients_get_502_until_it_is_back(served: Served) -> None:
    before = {process.pid for process in served.family()}
    for process in served.family():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with pytest.raises(openai.InternalServerError) as caught:
        served.say("anybody?")
    assert caught.value.status_code == 502
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]
    served.until_ready()
    after = {process.pid for process in served.family()}
    assert not before & after
    assert "planning failed" not in served.log.read_text(encoding="utf-8", errors="replace")
