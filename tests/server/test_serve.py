"""The commands as a user runs them, with a fake engine in vLLM's place."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest

from slosched.cli.serve import engine_arguments, engine_environment
from tests.server.processes import pids, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HANG_S = 60
OPEN = ("--set", "access.open=true")
BEHIND = ("--upstream", "http://127.0.0.1:1")
PROGRAM = str(Path(__file__).with_name("serve_fake.py"))


class Program:
    """A running `slosched`, whose lines on stderr can be waited for."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []
        self._fresh: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.end()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            self._fresh.put(line)

    def wait_for(self, pattern: str) -> str:
        """Wait for a line; give what the pattern's group matched."""
        while not (found := re.search(pattern, self._fresh.get(timeout=HANG_S))):
            pass
        return found[found.re.groups]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; give its exit code."""
        code = self.process.wait(HANG_S)
        self._reader.join(HANG_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@contextmanager
def serving(pid_file: Path, *arguments: str, manner: str = "family") -> Iterator[Program]:
    environment = {"FAKE_ENGINE": manner, "FAKE_ENGINE_PIDS": str(pid_file)}
    # A program that is killed leaves its folder for metrics behind.
    environment["TMPDIR"] = str(pid_file.parent)
    with Program(["serve", "model", "--port", "0", *arguments], environment) as program:
        yield program
    wait_until_gone(pid_file, 0)


def _get(url: str, data: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, data, HANG_S) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_requests_finish_and_leaves_nothing(
    pid_file: Path, number: signal.Signals
) -> None:
    with serving(pid_file) as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        assert _get(f"{url}/ready")[0] == 200
        with urllib.request.urlopen(f"{url}/v1/completions", b"{}", HANG_S) as answer:  # noqa: S310
            assert answer.read(6) == b"data: "
            program.signal(number)
            assert answer.read().endswith(b"last\n\n")
        assert program.end() == 0
        wait_until_gone(pid_file, 2)


def test_balancers_have_time_to_notice_a_stop(pid_file: Path) -> None:
    with serving(pid_file, "--set", "server.drain_delay_s=600", manner="") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        assert _get(f"{url}/ready")[0] == 200
        program.signal(signal.SIGTERM)
        program.wait_for("stopping")
        while _get(f"{url}/ready")[0] != 503:
            pass
        assert _get(f"{url}/health")[0] == 200
        assert _get(f"{url}/v1/completions", b"{}")[1].endswith(b"last\n\n")
        program.wait_for("once more to stop at once")
        program.signal(signal.SIGTERM)
        assert program.end() == 0


def test_a_second_signal_hurries(pid_file: Path) -> None:
    with serving(pid_file, manner="stubborn hangs") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        with urllib.request.urlopen(f"{url}/v1/completions", b"{}", HANG_S) as answer:  # noqa: S310
            assert answer.read(6) == b"data: "
            program.signal(signal.SIGINT)
            program.wait_for("once more to stop at once")
            program.signal(signal.SIGINT)
            assert program.end() == 0


def test_a_stop_does_not_wait_for_ever(pid_file: Path) -> None:
    with serving(pid_file, "--set", "server.drain_timeout_s=1", manner="hangs") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        with urllib.request.urlopen(f"{url}/v1/completions", b"{}", HANG_S) as answer:  # noqa: S310
            assert answer.read(6) == b"data: "
            program.signal(signal.SIGTERM)
            assert program.end() == 0
        assert "Traceback" not in "".join(program.lines)


def test_a_stop_while_the_engine_starts_leaves_nothing(pid_file: Path) -> None:
    with serving(pid_file, manner="family never ready") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine starting")
        assert (_get(f"{url}/ready")[0], _get(f"{url}/health")[0]) == (503, 200)
        assert _get(f"{url}/v1/completions", b"{}")[0] == 502
        program.signal(signal.SIGINT)
        assert program.end() == 0


def test_systemd_is_told(pid_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel allows no long names.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, TemporaryDirectory() as short:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{short}/notify")
        manager.bind(f"{short}/notify")
        manager.settimeout(HANG_S)
        with serving(pid_file, manner="") as program:
            program.wait_for("engine ready")
            assert manager.recv(100) == b"READY=1"
            program.signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert program.end() == 0


def test_an_engine_whose_server_is_killed_ends_too(pid_file: Path) -> None:
    with serving(pid_file, manner="") as program:
        program.wait_for("engine ready")
        program.signal(signal.SIGKILL)
        program.process.wait(HANG_S)
        wait_until_gone(pid_file)


def test_an_engine_that_fails_to_start_is_one_clear_line_after_its_own_words(
    pid_file: Path,
) -> None:
    with serving(pid_file, manner="fails") as program:
        assert program.end() == 1
        assert "fake engine: no memory\n" in program.lines
        assert program.lines[-1].startswith("error: the engine failed to start (exit code 1)")


def test_clients_get_502_while_the_engine_restarts(pid_file: Path) -> None:
    with serving(pid_file, manner="crashes") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        status, body = _get(f"{url}/v1/completions", b"{}")
        assert (status, json.loads(body)["error"]["code"]) == (502, "engine_unreachable")
        program.wait_for("ended by itself")
        assert _get(f"{url}/ready")[0] == 503
        program.wait_for("engine ready")
        assert _get(f"{url}/ready")[0] == 200


def test_it_ends_with_the_engine_where_that_is_wanted(pid_file: Path) -> None:
    with serving(pid_file, "--set", "server.on_engine_exit=exit", manner="crashes") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        assert _get(f"{url}/v1/completions", b"{}")[0] == 502
        assert program.end() == 1
        assert program.lines[-1] == "error: the engine ended by itself (exit code 7)\n"


@pytest.mark.parametrize("option", ["--port", "--engine-port"])
def test_a_port_in_use_is_said_before_the_engine_is_started(pid_file: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(pid_file, option, port) as program:
            assert program.end() == 2
            assert program.lines == [
                f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
            ]
    assert pids(pid_file) == []


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("serve", ["/no/such/model"], "MODEL: no such folder: /no/such/model"),
        ("serve", ["./no-such-model"], "MODEL: no such folder: ./no-such-model"),
        ("serve", ["m", "--config", "no.yaml"], "no.yaml: No such file or directory"),
        ("serve", ["m", "--", "--port=9"], "--port is not for vLLM to set here: "),
        ("serve", ["m", "--port", "81", "--engine-port", "81"], "--engine-port: 81 is the port of"),
        ("serve", ["m", "--host", "no.such.host.invalid", *OPEN], "cannot listen on no.such.host"),
        ("serve", ["m", "--host", "0.0.0.0"], "host: 0.0.0.0 can be reached from other machines"),
        ("gateway", [*BEHIND, "--host", "::"], "host: :: can be reached from other machines"),
        ("gateway", [*BEHIND, "--set", "access.keys=/no/keys"], "/no/keys: No such file"),
        ("gateway", ["--upstream", "localhost:80"], "--upstream: must be like http://"),
        ("gateway", ["--upstream", "http://u:p@localhost:80"], "--upstream: must not have a user"),
        ("gateway", ["--upstream", "http://h/v1/"], "--upstream: give the server's root"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    command: str, arguments: list[str], line: str
) -> None:
    with Program([command, *arguments], {}) as program:
        assert program.end() == 2
        assert len(program.lines) == 1
        assert program.lines[0].startswith(f"error: {line}")


def test_gateway_before_an_engine_that_runs(pid_file: Path) -> None:
    with serving(pid_file, manner="") as engine:
        upstream = engine.wait_for(r"listening.*engine=(\S+)")
        engine.wait_for("engine ready")
        with Program(["gateway", "--port", "0", "--upstream", upstream], {}) as program:
            url = program.wait_for(r"listening.*url=(\S+)")
            assert _get(f"{url}/ready")[0] == 200
            program.signal(signal.SIGTERM)
            assert program.end() == 0
        engine.signal(signal.SIGTERM)
        assert engine.end() == 0


def test_the_engine_is_vllm_with_our_scheduler_and_configuration(tmp_path: Path) -> None:
    arguments = engine_arguments("m", 81, ["--seed", "1"])
    assert arguments[1:] == [
        *("-m", "slosched.vllm.launch", "--model", "m", "--host", "127.0.0.1", "--port", "81"),
        *("--scheduler-cls", "slosched.vllm.SloScheduler", "--seed", "1"),
    ]
    environment = engine_environment(tmp_path / "a.yaml", ["policy.kind=edf"])
    assert environment == {
        "SLOSCHED_CONFIG": str(tmp_path / "a.yaml"),
        "SLOSCHED_SET": '["policy.kind=edf"]',
    }
    assert engine_environment(None, []) == {"SLOSCHED_SET": "[]"}
