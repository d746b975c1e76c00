"""Clients that hang up: for how many steps engines still work for nobody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic
from typing import Annotated

import aiohttp
import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_most, finish, run, track
from replicas import started
from vllm_server import check_model, serving

from slosched.client.connection import Connection
from slosched.client.server import metrics, total
from slosched.core.errors import EngineError

TOKENS = "vllm:generation_tokens_total"
STEP = "vllm:inter_token_latency_seconds"
_LONGEST = 1500  # tokens


def main(
    model: Annotated[Path, typer.Option(help="Folder: scripts/prepare_model.py writes it.")] = (
        FOLDER.parent / ".cache" / "smollm2-135m-instruct"
    ),
    times: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 50,
    vllm: Annotated[bool, typer.Option(help="A real engine, too.")] = True,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Ask for 1,500 tokens through the gateway, and hang up after 3 to 12 of them.

    Before vLLM with one slot, and before two simulated engines of one slot each; streamed, and
    not. The engine works on until its own metrics show nobody who runs: that time, in steps of the
    answer's own pace, is the tokens made for nobody; one step was running when the client went.
    vLLM's server counts no tokens of a request that it aborts, so those that it does count are
    on top. Each time a next request must get the slot.
    """
    times = 3 if quick else times
    if vllm:
        check_model(model)
    found = asyncio.run(_measured(model.resolve() if vllm else None, times, Random(seed)))
    measures = []
    for name, after in found.items():
        steps, tokens = [one.steps for one in after], [one.tokens for one in after]
        measures += [
            at_most(f"{name}: steps after a hang-up, median", median(steps), 2.0),
            Measure(f"{name}: steps, most", f"{max(steps):.1f}"),
            at_most(f"{name}: tokens counted after it, median", median(tokens), 2.0, "{:.0f}"),
            Measure(f"{name}: tokens, most", f"{max(tokens):.0f}"),
        ]
    finish(measures, quick, json, {name: list(map(asdict, after)) for name, after in found.items()})


@dataclass(frozen=True)
class After:
    """What an engine did after a hang-up: for how many steps it worked, what it counted."""

    steps: float
    tokens: float


async def _measured(model: Path | None, times: int, random: Random) -> dict[str, list[After]]:
    found = {}
    for name in ("vLLM", "two simulated"):
        if name == "vLLM" and model is None:
            continue
        async with AsyncExitStack() as stack:
            engines = await stack.enter_async_context(
                _vllm(model) if model and name == "vLLM" else _simulated()
            )
            upstreams = [part for url in engines for part in ("--upstream", url)]
            gateway = await stack.enter_async_context(started("gateway", "--port", "0", *upstreams))
            client = await stack.enter_async_context(aiohttp.ClientSession(gateway.url))
            for how in ("streamed", "whole"):
                after = [
                    await _hang_up(client, engines, how == "streamed", random.randint(3, 12))
                    for _ in track(range(times), f"{name}, {how}")
                ]
                found[f"{name}, {how}"] = after
    return found


@asynccontextmanager
async def _vllm(model: Path) -> AsyncIterator[Sequence[str]]:
    async with serving(model, _config(), slots=1) as url:
        yield [url]


def _config() -> str:
    """Return the gateway's own: it has the classes that requests are tagged with."""
    return files("slosched.config").joinpath("default.yaml").read_text(encoding="utf-8")


@asynccontextmanager
async def _simulated() -> AsyncIterator[Sequence[str]]:
    command = ("simulated-engine", "--port", "0", "--scheduler", "vllm-fcfs")
    command += ("--set", "engine.max_num_seqs=1")
    async with started(*command) as one, started(*command) as two:
        yield [one.url, two.url]


async def _hang_up(
    client: aiohttp.ClientSession, engines: Sequence[str], stream: bool, tokens: int
) -> After:
    """Hang up after so many tokens; return what the engine did from there on."""
    before = await _summed(engines, TOKENS)
    paces = [await _summed(engines, f"{STEP}_{part}") for part in ("sum", "count")]
    body = {"prompt": "Once", "max_tokens": _LONGEST, "ignore_eos": True, "stream": stream}
    asking = asyncio.ensure_future(client.post("/v1/completions", json=body))
    while await _summed(engines, TOKENS) < before + tokens:
        if asking.done() and (got := await asking).status != 200:
            raise EngineError(f"{got.status}: {(await got.text())[:200]}")
    counted = await _summed(engines, TOKENS)
    gone = monotonic()
    if stream:
        (await asking).close()
    else:
        asking.cancel()
    while await _summed(engines, "vllm:num_requests_running"):
        pass
    idle = monotonic() - gone
    seconds = await _summed(engines, f"{STEP}_sum") - paces[0]
    pace = seconds / (await _summed(engines, f"{STEP}_count") - paces[1])
    after = After(idle / pace, await _summed(engines, TOKENS) - counted)
    async with client.post("/v1/completions", json={"prompt": "Next", "max_tokens": 1}) as got:
        if got.status != 200:
            raise EngineError(f"the next request: {got.status} {(await got.text())[:200]}")
    return after


async def _summed(engines: Sequence[str], name: str) -> float:
    found = 0.0
    for url in engines:
        async with Connection(url) as connection:
            found += total(await metrics(connection), name) or 0.0
    return found


if __name__ == "__main__":
    run(main)
