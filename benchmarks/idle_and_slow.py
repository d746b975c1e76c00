"""What clients that do nothing, or do not read, cost the others: latency, throughput, memory."""

import asyncio
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from statistics import median
from time import perf_counter
from typing import Annotated

import aiohttp
import numpy as np
import psutil
from common import FOLDER, Json, Measure, Quick, at_least, at_most, finish, note, run
from typer import Option

from slosched_server.descriptors import make_room
from slosched_server.listen import free_port

CLIENTS = 16
_BODY = {"model": "m", "prompt": "p", "stream": True}
_HEALTH = b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n"
_ENDLESS = b'{"model": "m", "prompt": "endless", "stream": true}'
_ASKS = (
    b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(_ENDLESS)
) + _ENDLESS
_STARTS_S = 60.0
_SETTLES_S = 5.0  # longer than the gateway keeps idle connections to engines, 4 s at most
MB = 1e6
_WEIGHTS = ("resident set (MB)", "descriptors")


def main(
    idle: Annotated[
        int, Option(min=2, help="Clients that do nothing, half of them in a head.")
    ] = 2000,
    slow: Annotated[int, Option(min=1, help="Clients of endless streams that do not read.")] = 50,
    rounds: Annotated[int, Option(min=1, help="With and without them.")] = 5,
    seconds: Annotated[float, Option(min=0.1, help="Of each measurement.")] = 5.0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Measure 16 clients of short streams, with and without others that idle, in turns.

    Half of the idle clients have sent a piece of a head, as slowloris does, the others had an
    answer and stay. The slow ones asked for a stream that does not end, and read nothing of it.
    Clients, gateway and engine share the machine; the engine's events come 5 ms apart.
    """
    if quick:
        idle, slow, rounds, seconds = 40, 4, 1, 0.5
    make_room(idle + slow)
    figures = asyncio.run(_measured(idle, slow, rounds, seconds))
    middle = {key: median(values) for key, values in figures.items()}
    measures = []
    for what, unit in (("requests", "a second"), ("median", "ms"), ("p99", "ms")):
        for state in ("without", "with"):
            text = f"{middle[f'{state} {what}']:.1f}"
            measures.append(Measure(f"{what} {state} them, {unit}", text))
    rate = 100 * middle["with requests"] / middle["without requests"]
    took = 100 * middle["with median"] / middle["without median"]
    memory, descriptors = _WEIGHTS
    leak = figures[f"after {memory}"][0] - figures[f"with {memory}"][0]
    left = figures[f"after {descriptors}"][0] - figures[f"before {descriptors}"][0]
    measures += [
        at_least("requests with them, % of those without", rate, 90.0),
        at_most("median with them, % of that without", took, 110.0),
        *(Measure(f"{w} before / with / after", _three(figures, w)) for w in _WEIGHTS),
        # What they took at first, the allocator keeps for the next ones.
        at_most("MB more in the end than with them at first", leak, 10.0),
        at_most("descriptors more than before, in the end", left, 2.0, "{:.0f}"),
    ]
    finish(measures, quick, json, figures)


def _three(figures: dict[str, list[float]], what: str) -> str:
    first, last = figures[f"before {what}"][0], figures[f"after {what}"][0]
    return f"{first:.0f} / {max(figures[f'with {what}']):.0f} / {last:.0f}"


async def _measured(idle: int, slow: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = defaultdict(list)
    async with _engine() as engine, _gateway(engine) as (gateway, url):
        await _load(url, min(seconds, 1.0))  # so that all that is made once is there
        await asyncio.sleep(_SETTLES_S)
        _weigh(gateway, "before", figures)
        for number in range(rounds):
            for state in ("without", "with"):
                with ExitStack() as others:
                    if state == "with":
                        await asyncio.to_thread(_attach, url, idle, slow, others)
                    await asyncio.sleep(_SETTLES_S)
                    rate, latencies = await _load(url, seconds)
                    _weigh(gateway, state, figures)
                figures[f"{state} requests"].append(rate)
                figures[f"{state} median"].append(1e3 * median(latencies))
                figures[f"{state} p99"].append(1e3 * float(np.percentile(latencies, 99)))
            note(f"round {number + 1} of {rounds}")
        await asyncio.sleep(_SETTLES_S)
        _weigh(gateway, "after", figures)
    return figures


def _attach(url: str, idle: int, slow: int, others: ExitStack) -> None:
    """Connect those who are in the way, until the stack is left."""
    host, _, port = url.removeprefix("http://").partition(":")

    def connected(receive: int | None = None) -> socket.socket:
        one = others.enter_context(socket.socket())
        if receive is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        one.connect((host, int(port)))
        return one

    for number in range(idle):
        one = connected()
        if number % 2:
            one.sendall(_HEALTH[:20])
        else:
            one.sendall(_HEALTH)
            one.recv(4096)
    for _ in range(slow):
        connected(4096).sendall(_ASKS)


def _weigh(process: psutil.Process, state: str, figures: dict[str, list[float]]) -> None:
    for what, figure in zip(
        _WEIGHTS, (process.memory_info().rss / MB, process.num_fds()), strict=True
    ):
        figures[f"{state} {what}"].append(figure)


async def _load(url: str, seconds: float) -> tuple[float, list[float]]:
    """Ask from 16 clients at once; return requests a second, and how long each took, s."""
    latencies: list[float] = []
    began = perf_counter()

    async def worker() -> None:
        async with aiohttp.ClientSession(url) as client:
            while perf_counter() < began + seconds:
                sent = perf_counter()
                async with client.post("/v1/completions", json=_BODY) as got:
                    if got.status != 200:
                        raise SystemExit(f"error: the gateway answered {got.status}")
                    await got.read()
                latencies.append(perf_counter() - sent)

    await asyncio.gather(*(worker() for _ in range(CLIENTS)))
    return len(latencies) / (perf_counter() - began), latencies


@asynccontextmanager
async def _engine() -> AsyncIterator[str]:
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    with _process(str(FOLDER / "paced_engine.py"), str(port)):
        await _answers(f"{url}/health")
        yield url


@asynccontextmanager
async def _gateway(engine: str) -> AsyncIterator[tuple[psutil.Process, str]]:
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    with _process(
        "-m", "slosched", "gateway", "-q", "--upstream", engine, "--port", str(port)
    ) as process:
        await _answers(f"{url}/ready")
        yield process, url


@contextmanager
def _process(*arguments: str):  # noqa: ANN202
    process = psutil.Popen([sys.executable, *arguments])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def _answers(url: str) -> None:
    end = perf_counter() + _STARTS_S
    async with aiohttp.ClientSession() as client:
        while perf_counter() < end:
            try:
                async with client.get(url) as got:
                    if got.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit(f"error: {url} does not answer")


if __name__ == "__main__":
    run(main)
