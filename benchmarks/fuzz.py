"""The gateway under junk: 10,000 fuzzed requests, none of which may hang, leak or end in a 5xx."""

import json as jsonlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore
from time import monotonic, sleep
from typing import Annotated, Any

import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_most, finish, note, run
from fuzz_cases import Wire, draw

from slosched.core.errors import EngineError

LONGEST_S = 30.0
_CLIENTS = 8
_URL = re.compile(r"url=http://([\d.]+):(\d+)")
# Short answers: with `n` and many prompts somebody may ask for a thousand of them, which is work,
# and no hang.
_ENGINE = (
    "simulated-engine", "--speed", "1000", "--scheduler", "vllm-fcfs", "--answer-tokens", "8",
    "--set", "engine.max_model_len=64", "--set", "engine.max_num_seqs=8",
)  # fmt: skip
_OURS = (b"engine_broke_off", b"engine_unreachable", b"internal_server_error")


def main(
    requests: Annotated[int, typer.Option(min=100, help="How many.")] = 10_000,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Ask a gateway before two simulated engines for what nobody would ask for.

    Half of the requests are drawn by schemathesis from docs/openapi.yaml, in its bounds and out of
    them; the others have headers, methods, paths and bodies of junk. One in ten clients hangs up.
    Eight ask at a time. Memory, open files and tasks of the gateway's process are read after a
    collection of garbage and with nobody asking, at a half of the requests and after the last.
    """
    requests = 400 if quick else requests
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="slosched-fuzz-")))
        engines = [stack.enter_context(_started(folder / f"e{i}", *_ENGINE)) for i in range(2)]
        upstreams = [part for one in engines for part in ("--upstream", one.url)]
        gateway = stack.enter_context(
            _started(folder / "gateway", "gateway", *upstreams, "--set",
                     "classes.interactive.overload=reject")
        )  # fmt: skip
        answers = Answers(gateway)
        held = [_asked(answers, requests // 2, seed + at) for at in (0, 10_000)]
        alive = all(one.process.poll() is None for one in (*engines, gateway))
        log = gateway.log.read_text(encoding="utf-8", errors="replace")
    finish(_measures(answers, held, log, alive), quick, json, _details(answers, held))


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    log: Path
    address: tuple[str, int]

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def held(self) -> dict[str, int]:
        """Ask the process what it holds; see watched.py."""
        self.process.send_signal(signal.SIGUSR1)
        line = self.process.stdout.readline() if self.process.stdout else b""
        told: dict[str, int] = jsonlib.loads(line or b'{"rss": 0, "files": 0, "tasks": 0}')
        return told


@dataclass
class Answers:
    """What came of the requests so far."""

    gateway: _Process
    statuses: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def ask(self, wire: Wire) -> None:
        """Ask once, and keep what is worth it."""
        began = monotonic()
        try:
            status, finding = _told(self.gateway.address, wire)
        except TimeoutError:
            status, finding = "hangs", "hangs"
        except (HTTPException, ConnectionError) as error:
            status, finding = "broken", repr(error)
        self.slowest = max(self.slowest, monotonic() - began)
        self.statuses[status] += 1
        if finding:
            self.findings.append(f"{finding}: {wire}"[:2000])
            note(self.findings[-1])


def _asked(answers: Answers, number: int, seed: int) -> dict[str, int]:
    """Ask so often, and say what the gateway holds afterwards."""
    free = Semaphore(4 * _CLIENTS)
    with ThreadPoolExecutor(_CLIENTS) as clients:

        def send(wire: Wire) -> None:
            free.acquire()
            asking: Future[None] = clients.submit(answers.ask, wire)
            asking.add_done_callback(lambda _: free.release())

        draw(number, seed, send)
    note(f"{sum(answers.statuses.values())} asked: {dict(sorted(answers.statuses.items()))}")
    return _settled(answers.gateway)


def _settled(gateway: _Process) -> dict[str, int]:
    """Wait until whoever hung up is forgotten, which takes a moment, and connections are idle."""
    held, end = gateway.held(), monotonic() + LONGEST_S
    while monotonic() < end:
        sleep(3.0)
        before, held = held, gateway.held()
        if before["tasks"] <= held["tasks"] and before["files"] <= held["files"]:
            break
    return held


def _told(address: tuple[str, int], wire: Wire) -> tuple[str, str]:
    """Ask; return the status, and what is wrong with the answer."""
    with socket.create_connection(address, LONGEST_S) as connection:
        connection.sendall(wire.bytes())
        if wire.hang_up:
            connection.recv(1)
            return "hung up", ""
        answer = HTTPResponse(connection, method=wire.method)
        answer.begin()
        while answer.status == 100:
            answer.begin()
        body = answer.read()
    ours = next((code for code in _OURS if code in body), b"")
    engines = answer.status >= 500 and answer.headers["x-slosched-replica"] is not None
    finding = f"{answer.status}, {'the engine' if engines else 'ours'}: {body[:300]!r}"
    return str(answer.status), finding if ours or answer.status >= 500 else ""


@contextmanager
def _started(log: Path, *arguments: str) -> Iterator[_Process]:
    """Start a command that serves, and wait until it does."""
    command = [sys.executable, str(FOLDER / "watched.py"), *arguments, "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, env={**os.environ, "COLUMNS": "200"}
        )
    try:
        yield _Process(process, log, _address(process, log))
    finally:
        process.terminate()
        process.communicate()


def _address(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    while process.poll() is None:
        if found := _URL.search(log.read_text(encoding="utf-8")):
            return found[1], int(found[2])
        sleep(0.1)
    raise EngineError(f"it did not start: {log.read_text(encoding='utf-8')[-2000:]}")


def _measures(answers: Answers, held: list[dict[str, int]], log: str, alive: bool) -> list[Measure]:
    half, end = held
    made = [finding.split(": ")[0] for finding in answers.findings]
    engines = sum("the engine" in who for who in made)
    grown = 100 * (end["rss"] / max(half["rss"], 1) - 1)
    return [
        Measure("requests", str(sum(answers.statuses.values()))),
        at_most("5xx and broken answers of the gateway", len(made) - engines, 0, "{:.0f}"),
        at_most("5xx of the engines", engines, 0, "{:.0f}"),
        at_most("tracebacks in the gateway's log", log.count("Traceback"), 0, "{:.0f}"),
        at_most("s, the slowest answer", answers.slowest, LONGEST_S),
        at_most("% of memory more than at the half", grown, 5.0),
        at_most("open files more", end["files"] - half["files"], 0, "{:.0f}"),
        at_most("tasks more", end["tasks"] - half["tasks"], 0, "{:.0f}"),
        Measure("processes that live", "all" if alive else "not all", "all", alive),
    ]


def _details(answers: Answers, held: list[dict[str, int]]) -> dict[str, Any]:
    return {
        "statuses": dict(answers.statuses), "findings": answers.findings[:50], "held": held,
    }  # fmt: skip


if __name__ == "__main__":
    run(main)
