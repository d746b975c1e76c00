"""What Envoy and the picker cost: latency and throughput before replicas that cost nothing."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import aiohttp
import psutil
import typer
from common import FOLDER, Json, Measure, Quick, at_least, at_most, finish, note, run
from front_end import BODY, Server, engine, latency, load

sys.path.insert(0, str(FOLDER.parent))
from tests.picker.envoy import envoy
from tests.picker.pickers import picker

REPLICAS = 4


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of all, in turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 3.0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Ask through Envoy and the picker, with and without answers shown to it, in turns.

    One client at a time for latency, 32 for throughput; answers are 70 bytes, or streams of 20
    events. Clients, Envoy, the picker and four replicas share the machine; the replicas are one
    process, at four addresses.
    """
    figures = asyncio.run(_measured(1 if quick else rounds, 0.3 if quick else seconds))
    middle = {key: median(values) for key, values in figures.items()}
    measures = []
    for name in dict.fromkeys(name for name, _ in figures):
        delay = 1e3 * middle[name, "latency"]
        added = 1e3 * (middle[name, "latency"] - middle["directly", "latency"])
        measures.append(Measure(f"{name}: ms a request", f"{delay:.2f}"))
        if name == "Envoy and picker":
            measures.append(at_most(f"{name}: ms added", added, 2.5, "{:.2f}"))
            rate = middle[name, "requests"]
            measures.append(at_least(f"{name}: requests a second at 32", rate, 1500, "{:.0f}"))
        elif name != "directly":
            measures.append(Measure(f"{name}: ms added", f"{added:.2f}"))
        for what in ("requests", "streams"):
            if (name, what) != ("Envoy and picker", "requests"):
                rate = f"{middle[name, what]:.0f}"
                measures.append(Measure(f"{name}: {what} a second at 32", rate))
            if name != "directly":
                spent = 1e3 * middle[name, f"cpu of {what}"]
                measures.append(Measure(f"{name}: picker's CPU ms a {what[:-1]}", f"{spent:.3f}"))
    finish(measures, quick, json, {f"{name} {what}": v for (name, what), v in figures.items()})


async def _measured(rounds: int, seconds: float) -> dict[tuple[str, str], list[float]]:
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        behind = [await stack.enter_async_context(engine()) for _ in range(REPLICAS)]
        servers = {"directly": behind[0]}
        for name, shows in (("Envoy and picker", False), ("the same, answers shown", True)):
            servers[name] = await stack.enter_async_context(_proxied(behind, shows=shows))
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


@asynccontextmanager
async def _proxied(behind: list[Server], *, shows: bool) -> AsyncIterator[Server]:
    """Start an Envoy with a picker of its own."""
    addresses = [server.url.removeprefix("http://") for server in behind]
    flags = [part for server in behind for part in ("--upstream", server.url)]
    with TemporaryDirectory() as folder:
        async with (
            picker(Path(folder), *flags) as asked,
            envoy(Path(folder), [asked.address], addresses, shows_answers=shows) as proxy,
        ):
            yield Server(proxy.url, psutil.Process(asked.process.pid))


if __name__ == "__main__":
    run(main)
