"""A front end before two simulated engines, as processes, under load that keeps it busy."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.server.guarded import Files
from tests.simulated_engine.serve import PROFILE

CLASSES = """
classes:
  interactive: {ttft_ms: 1000, tpot_ms: 200}
  agent: {e2e_ms: 20000}
  batch: {e2e_ms: 60000}
access: {keys: keys.yaml}
"""
_AT_ONCE = 24
_NAMES = ("interactive", "agent", "batch")


@dataclass(frozen=True)
class Site:
    """Where it is, and the key of who may administer it."""

    url: str
    admin_key: str


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start one of our commands that serve; gives the process and its URL."""
    command = [sys.executable, "-m", "slosched", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    read: threading.Thread | None = None
    try:
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "it ended before it listened"
            found = re.search(r"url=(\S+)", line)
        # Whatever it logs is read, so that it never waits for a reader.
        read = threading.Thread(target=process.stderr.read)
        read.start()
        yield process, found[1]
    finally:
        process.terminate()
        process.wait(60)
        if read is not None:
            read.join(60)
        process.stderr.close()


@contextmanager
def site(folder: Path, *, busy: bool = True) -> Iterator[Site]:
    """Serve; busy, more ask at once than there are slots."""
    profile = folder / "profile.yaml"
    profile.write_text(PROFILE)
    files = Files(folder, CLASSES)
    key, trusted = files.give("ops", admin=True), files.give("load", trusted=True)
    common = ["--port", "0", "--config", str(files.config)]
    common += ["--set", f"engine.profile={profile}", "--set", "engine.max_num_seqs=4"]
    with ExitStack() as stack:
        urls = [
            stack.enter_context(program("simulated-engine", "--scheduler", "vllm-fcfs", *common))[1]
            for _ in range(2)
        ]
        named = [{"url": url, "name": f"gpu-{i}"} for i, url in enumerate(urls)]
        replicas = f"fleet.replicas={orjson.dumps(named).decode()}"
        _, url = stack.enter_context(program("gateway", *common, "--set", replicas))
        if busy:
            stack.enter_context(load(url, trusted))
        yield Site(url, key)


@contextmanager
def load(url: str, key: str) -> Iterator[None]:
    """Ask from a thread, as often as answers come, so that there are always some who wait."""
    stop: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        end = asyncio.Event()
        stop.set_result((asyncio.get_running_loop(), end))
        own = {"authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(url, headers=own) as client:
            asking = [
                asyncio.create_task(_ask_again_and_again(client, number))
                for number in range(_AT_ONCE)
            ]
            ended = asyncio.create_task(end.wait())
            await asyncio.wait([*asking, ended], return_when=asyncio.FIRST_COMPLETED)
            for task in (*asking, ended):
                task.cancel()
            await asyncio.gather(*asking, ended, return_exceptions=True)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, main())
        loop, end = stop.result(60)
        try:
            yield
        finally:
            if not running.done():
                loop.call_soon_threadsafe(end.set)
            running.result(60)


async def _ask_again_and_again(client: aiohttp.ClientSession, number: int) -> None:
    headers = {
        "x-slo-class": _NAMES[number % len(_NAMES)],
        "x-gateway-inference-fairness-id": f"tenant-{number % 4}",
    }
    body: dict[str, Any] = {
        "prompt": f"{number} " * (20 + 10 * number), "max_tokens": 20 + 3 * number,
        "ignore_eos": True, "stream": True,
    }  # fmt: skip
    while True:
        async with client.post("/v1/completions", json=body, headers=headers) as got:
            got.raise_for_status()
            await got.read()
