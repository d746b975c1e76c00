"""What the front end costs: latency and throughput before an engine that costs nothing."""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import aiohttp
import psutil
import typer
from common import FOLDER, Json, Measure, Quick, at_least, at_most, finish, note, run

from slosched_server.listen import free_port

CONCURRENCY = 32
BODY = {"model": "m", "prompt": "p", "max_tokens": 20}
_STARTS_S = 60.0


@dataclass(frozen=True)
class Server:
    """Where it is, and the process that it runs in."""

    url: str
    process: psutil.Process

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


def main(
    router: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of vllm-router: pip install --no-deps --target FOLDER vllm-router",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of all, in turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 3.0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Ask an engine directly, and through each front end, in turns.

    One client at a time for latency, 32 for throughput; answers are 70 bytes, or streams of 20
    events. Client, front end and engine share the machine. The gateway is measured before one
    engine, whose requests it passes on, and before two, where it plans. The CPU time that a front
    end takes for an answer depends less on who else uses the machine than rates do.
    """
    figures = asyncio.run(_measured(router, 1 if quick else rounds, 0.3 if quick else seconds))
    middle = {key: median(values) for key, values in figures.items()}
    measures = []
    for name in dict.fromkeys(name for name, _ in figures):
        added = 1e3 * (middle[name, "latency"] - middle["directly", "latency"])
        if name == "gateway":
            measures.append(at_most("gateway: ms added to a request", added, 1.0, "{:.2f}"))
        elif name != "directly":
            measures.append(Measure(f"{name}: ms added to a request", f"{added:.2f}"))
        for what, share in (("requests", 60.0), ("streams", 100.0)):
            rate = middle[name, what]
            measures.append(Measure(f"{name}: {what} a second at 32", f"{rate:.0f}"))
            if name == "gateway" and ("vllm-router", what) in middle:
                percent = 100 * rate / middle["vllm-router", what]
                measures.append(at_least(f"gateway: {what}, % of vllm-router's", percent, share))
            if name != "directly":
                spent = middle[name, f"cpu of {what}"]
                measures.append(Measure(f"{name}: CPU ms a {what[:-1]}", f"{1e3 * spent:.3f}"))
    finish(measures, quick, json, {f"{name} {what}": v for (name, what), v in figures.items()})


async def _measured(
    router: Path | None, rounds: int, seconds: float
) -> dict[tuple[str, str], list[float]]:
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(engine()) for _ in range(2)]
        servers = {"directly": engines[0]}
        for name, upstreams in (("gateway", engines[:1]), ("gateway before two", engines)):
            flags = [part for engine in upstreams for part in ("--upstream", engine.url)]
            command = [sys.executable, "-m", "slosched", "gateway", *flags]
            servers[name] = await stack.enter_async_context(_started(command))
        if router is not None:
            command = [
                sys.executable, "-m", "vllm_router.launch_router", "--worker-urls", engines[0].url,
                "--host", "127.0.0.1", "--policy", "round_robin",
            ]  # fmt: skip
            servers["vllm-router"] = await stack.enter_async_context(_started(command, router))
        for number in range(rounds):
            for name, server in servers.items():
                async with aiohttp.ClientSession(server.url) as client:
                    figures[name, "latency"].append(await latency(client, seconds))
                    for what, body in (("requests", BODY), ("streams", {**BODY, "stream": True})):
                        before = server.cpu_s()
                        done, took = await load(client, body, seconds)
                        figures[name, what].append(done / took)
                        figures[name, f"cpu of {what}"].append((server.cpu_s() - before) / done)
            note(f"round {number + 1} of {rounds}")
    return figures


async def latency(client: aiohttp.ClientSession, seconds: float) -> float:
    taken, end = [], perf_counter() + seconds
    while perf_counter() < end:
        began = perf_counter()
        await _ask(client, BODY)
        taken.append(perf_counter() - began)
    return median(taken)


async def load(
    client: aiohttp.ClientSession, body: dict[str, object], seconds: float
) -> tuple[int, float]:
    """Ask for some seconds; return how many answers there were, and the seconds it took."""
    began = perf_counter()

    async def worker() -> int:
        done = 0
        while perf_counter() < began + seconds:
            await _ask(client, body)
            done += 1
        return done

    done = await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return sum(done), perf_counter() - began


async def _ask(client: aiohttp.ClientSession, body: dict[str, object]) -> None:
    async with client.post("/v1/completions", json=body) as got:
        await got.read()
        if got.status != 200:
            raise SystemExit(f"error: {client._base_url} answered {got.status}")  # noqa: SLF001


@asynccontextmanager
async def engine() -> AsyncIterator[Server]:
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, str(FOLDER / "trivial_engine.py"), str(port)]
    url = f"http://127.0.0.1:{port}"
    async with _process(command, dict(os.environ), url, "/v1/models") as engine:
        yield engine


@asynccontextmanager
async def _started(command: list[str], folder: Path | None = None) -> AsyncIterator[Server]:
    port = free_port("127.0.0.1", 0)
    environment = dict(os.environ)
    if folder is not None:
        environment["PYTHONPATH"] = str(folder)
    command = [*command, "--port", str(port)]
    async with _process(command, environment, f"http://127.0.0.1:{port}", "/health") as server:
        yield server


@asynccontextmanager
async def _process(
    command: list[str], environment: dict[str, str], url: str, path: str
) -> AsyncIterator[Server]:
    """Start a server, and wait until it answers."""
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=null, stderr=null
    )
    try:
        await _until(lambda: _answers(url + path))
        yield Server(url, psutil.Process(process.pid))
    finally:
        process.terminate()
        await process.wait()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    end = perf_counter() + _STARTS_S
    while not await holds():
        if perf_counter() > end:
            raise SystemExit("error: a server did not start")
        await asyncio.sleep(0.1)


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as got:
            return got.status == 200
    except aiohttp.ClientError:
        return False


if __name__ == "__main__":
    run(main)
