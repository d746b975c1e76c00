"""Replicas that are killed under load, again and again: an account of every request."""

import asyncio
import re
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import aiohttp
import typer
from common import FOLDER, Json, Quick, Seed, at_most, finish, note, run
from replicas import Started, gateway, started

from slosched.client.connection import Connection
from slosched.client.server import metrics

REPLICAS, SLOTS, REQUESTS, TOKENS = 3, 4, 90, 40
_BROKE_OFF, _DONE = b"engine_broke_off", re.compile(rb"data: \[DONE\]|\"usage\"")
_LONGEST_S = 120.0
_PROFILE = (
    "base_ms: 20\nper_prefill_token_ms: 0.1\nper_sequence_ms: 0.0\nper_context_token_ms: 0.0\n"
)
Account = Counter[str]


def main(
    times: Annotated[int, typer.Option(min=1, help="That a replica is killed.")] = 20,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Kill -9 one of three simulated engines behind the gateway, and count what became of whom.

    Processes started afresh each time, 90 requests at once for 12 slots, two of three of them
    streams; the moment is drawn. A request is lost if it is not answered whole and had not begun
    to stream from the dead engine; it is run twice if survivors finished more than they answered.
    """
    rng, whole = Random(seed), Counter[str]()
    rounds = []
    for number in range(1 if quick else times):
        victim, after = rng.randrange(REPLICAS), rng.uniform(0.3, 2.5)
        one = asyncio.run(_killed(victim, after))
        note(f"{number + 1}: replica {victim} after {after:.1f} s: {dict(one)}")
        rounds.append({"victim": victim, "after_s": after, **one})
        whole += one
    measures = [
        at_most(name, whole[name], 0, "{:d}")
        for name in (
            "lost", "run twice", "streams that broke elsewhere",
            "streams that broke without an error event",
        )
    ]  # fmt: skip
    note(f"{whole['whole']} answered whole, {whole['broken streams']} streams broke")
    finish(measures, quick, json, rounds)


async def _killed(victim: int, after: float) -> Account:
    with TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.yaml"
        profile.write_text(_PROFILE)
        async with AsyncExitStack() as stack:
            flags = [
                "simulated-engine", "--port", "0", "--speed", "2", "--scheduler", "vllm-fcfs",
                "--config", str(FOLDER / "mix.yaml"), "--set", "predictor.kind=history",
                "--set", f"engine.profile={profile}", "--set", f"engine.max_num_seqs={SLOTS}",
            ]  # fmt: skip
            engines = await asyncio.gather(
                *(stack.enter_async_context(started(*flags)) for _ in range(REPLICAS))
            )
            replicas: list[dict[str, object]] = [
                {"url": one.url, "name": f"r{i}", "max_num_seqs": SLOTS, "profile": str(profile)}
                for i, one in enumerate(engines)
            ]
            front = await stack.enter_async_context(gateway(replicas))
            client = await stack.enter_async_context(aiohttp.ClientSession(front.url))
            asking = [asyncio.create_task(_ask(client, number)) for number in range(REQUESTS)]
            await asyncio.sleep(after)
            engines[victim].process.send_signal(signal.SIGKILL)
            said = await asyncio.gather(*asking)
            return await _account(said, engines, victim)


async def _ask(client: aiohttp.ClientSession, number: int) -> tuple[int, str, bytes]:
    body = {
        "prompt": f"{number}", "max_tokens": TOKENS, "ignore_eos": True, "stream": number % 3 > 0,
    }  # fmt: skip
    received = b""
    timeout = aiohttp.ClientTimeout(total=_LONGEST_S)
    async with client.post("/v1/completions", json=body, timeout=timeout) as got:
        replica = got.headers.get("x-slosched-replica", "")
        try:
            async for piece in got.content.iter_any():
                received += piece
        except aiohttp.ClientError:
            received += b"(cut off)"
        return got.status, replica, received


async def _account(
    said: list[tuple[int, str, bytes]], engines: list[Started], victim: int
) -> Account:
    account, by = Counter[str](), Counter[str]()
    for status, replica, body in said:
        streamed = status == 200 and body.startswith(b"data:")
        if status == 200 and _DONE.search(body) and _BROKE_OFF not in body:
            account["whole"] += 1
            by[replica] += 1
        elif streamed:
            account["broken streams"] += 1
            account["streams that broke elsewhere"] += replica != f"r{victim}"
            account["streams that broke without an error event"] += _BROKE_OFF not in body
        else:
            account["lost"] += 1
    for i, one in enumerate(engines):
        if i != victim:
            async with Connection(one.url) as connection:
                page = await metrics(connection)
            ended = sum(s.value for s in page if s.name == "vllm:request_success_total")
            account["run twice"] += int(ended) - by[f"r{i}"]
    return account


if __name__ == "__main__":
    run(main)
