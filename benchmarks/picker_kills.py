"""Replicas that are killed under load behind Envoy, again and again: an account of everybody."""

import asyncio
import re
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import aiohttp
import orjson
import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_most, finish, note, run
from replicas import Started, started

from slosched.client.connection import Connection
from slosched.client.server import metrics

sys.path.insert(0, str(FOLDER.parent))
from tests.picker.envoy import envoy
from tests.picker.pickers import picker

REPLICAS, SLOTS, REQUESTS, TOKENS = 3, 4, 90, 40
_WHOLE = re.compile(rb'data: \[DONE\]|"usage"')
_CUT = b"(cut off)"
_LONGEST_S = 120.0
_PROFILE = (
    "base_ms: 20\nper_prefill_token_ms: 0.1\nper_sequence_ms: 0.0\nper_context_token_ms: 0.0\n"
)
Said = tuple[int, str, bytes]


def main(
    times: Annotated[int, typer.Option(min=1, help="That a replica is killed.")] = 20,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Kill -9 one of three simulated engines behind Envoy and the picker, and start it again.

    90 requests at once for 12 slots, two of three of them streams; the moment is drawn, and so is
    whether the picker sees answers. A request is lost if it is not answered whole and was not
    being answered by the dead engine.
    """
    account, rounds = Counter[str](), []
    asyncio.run(_rounds(1 if quick else times, Random(seed), account, rounds))
    measures = [
        at_most(name, account[name], 0, "{:d}")
        for name in ("answers of 500 or more", "other refusals", "lost", "broken elsewhere",
                     "run twice")
    ]  # fmt: skip
    measures += [
        Measure(name, f"{account[name]}")
        for name in ("whole", "broken streams", "broken whole answers")
    ]
    finish(measures, quick, json, rounds)


async def _rounds(
    times: int, rng: Random, account: Counter[str], rounds: list[dict[str, object]]
) -> None:
    for number in range(times):
        victim, after, shows = rng.randrange(REPLICAS), rng.uniform(0.3, 2.5), rng.random() < 0.5
        one = await _killed(victim, after, shows=shows)
        note(f"{number + 1}: replica {victim} after {after:.1f} s: {dict(one)}")
        rounds.append({"victim": victim, "after_s": after, "shown": shows, **one})
        account += one


async def _killed(victim: int, after: float, *, shows: bool) -> Counter[str]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        profile = folder / "profile.yaml"
        profile.write_text(_PROFILE)
        async with AsyncExitStack() as stack:
            flags = [
                "simulated-engine", "--speed", "2", "--scheduler", "vllm-fcfs",
                "--set", f"engine.profile={profile}", "--set", f"engine.max_num_seqs={SLOTS}",
            ]  # fmt: skip
            engines = await asyncio.gather(
                *(
                    stack.enter_async_context(started(*flags, "--port", "0"))
                    for _ in range(REPLICAS)
                )
            )
            replicas = [
                {"url": one.url, "name": f"r{i}", "max_num_seqs": SLOTS, "profile": str(profile)}
                for i, one in enumerate(engines)
            ]
            named = "--set", f"fleet.replicas={orjson.dumps(replicas).decode()}"
            asked = await stack.enter_async_context(picker(folder, *named))
            addresses = [one.url.removeprefix("http://") for one in engines]
            proxy = await stack.enter_async_context(
                envoy(folder, [asked.address], addresses, shows_answers=shows)
            )
            client = await stack.enter_async_context(aiohttp.ClientSession(proxy.url))
            asking = [asyncio.create_task(_ask(client, number)) for number in range(REQUESTS)]
            await asyncio.sleep(after)
            engines[victim].process.send_signal(signal.SIGKILL)
            await engines[victim].process.wait()
            port = addresses[victim].rpartition(":")[2]
            await stack.enter_async_context(started(*flags, "--port", port))
            said = await asyncio.gather(*asking)
            return await _account(said, engines, victim)


async def _ask(client: aiohttp.ClientSession, number: int) -> Said:
    body = {
        "prompt": f"{number}", "max_tokens": TOKENS, "ignore_eos": True, "stream": number % 3 > 0,
    }  # fmt: skip
    received, status, replica = b"", 0, ""
    timeout = aiohttp.ClientTimeout(total=_LONGEST_S)
    try:
        async with client.post("/v1/completions", json=body, timeout=timeout) as got:
            status, replica = got.status, got.headers.get("x-slosched-replica", "")
            async for piece in got.content.iter_any():
                received += piece
    except aiohttp.ClientError:
        received += _CUT
    return status, replica, received


async def _account(said: list[Said], engines: list[Started], victim: int) -> Counter[str]:
    account, by = Counter[str](), Counter[str]()
    for status, replica, body in said:
        if status >= 500:
            account["answers of 500 or more"] += 1
        elif status != 200:
            account["other refusals" if status else "lost"] += 1
        elif _WHOLE.search(body) and _CUT not in body:
            account["whole"] += 1
            by[replica] += 1
        else:
            streamed = body.startswith(b"data:")
            account["broken streams" if streamed else "broken whole answers"] += 1
            account["broken elsewhere"] += replica != f"r{victim}"
    for i, one in enumerate(engines):
        if i != victim:
            async with Connection(one.url) as connection:
                page = await metrics(connection)
            ended = sum(s.value for s in page if s.name == "vllm:request_success_total")
            account["run twice"] += int(ended) - by[f"r{i}"]
    return account


if __name__ == "__main__":
    run(main)
