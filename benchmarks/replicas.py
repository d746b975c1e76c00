"""Four simulated engines of different speed, and the gateway before them, each a process."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import orjson
from common import FOLDER, note
from mix import Mix, settings
from sources import served_per_second

from slosched.client.answer import Answer
from slosched.client.connection import Call, Connection
from slosched.core.errors import EngineError
from slosched.core.request import TracedRequest
from slosched.core.tags import Tag, to_headers

SLOWER = (2.0, 3.0, 4.0, 6.0)  # than the mix's profile, so that two cores can serve four of them
SLOTS = 16
_LONGEST_S = 300.0
_IDS = 100_000  # of tokens, so that no two prompts begin alike
_URL = re.compile(rb"url=(\S+)")


@dataclass(frozen=True)
class Started:
    """A command that serves."""

    url: str
    process: asyncio.subprocess.Process


def trace_of(mix: Mix, load: float, seed: int) -> list[TracedRequest]:
    """Return the requests, as many a second as `load` of what the engines can serve."""
    rate = 0.0
    for factor in SLOWER:
        own = settings(engine(factor, "vllm-fcfs"))
        at_once = [
            replace(t, request=replace(t.request, arrival=0.0))
            for t in mix.requests(own, 1.0, seed)
        ]
        rate += served_per_second(own, at_once)
    trace = mix.requests(settings(), 1.0, seed)
    first, last = trace[0].request.arrival, trace[-1].request.arrival
    pace = (len(trace) - 1) / (last - first) / (load * rate)
    note(f"{len(trace)} requests in {(last - first) * pace:.0f} s, {load:g} of {rate:.1f} a second")
    return [
        replace(t, request=replace(t.request, arrival=(t.request.arrival - first) * pace))
        for t in trace
    ]


def engine(factor: float, scheduler: str) -> list[str]:
    return [
        f"engine.profile={profile(factor)}", f"engine.max_num_seqs={SLOTS}",
        f"engine.scheduler={scheduler}",
    ]  # fmt: skip


def profile(factor: float) -> str:
    """Write the profile of an engine that is slower than the mix's."""
    path = FOLDER.parent / ".cache" / f"mix-profile-{factor:g}.yaml"
    names = re.compile(r"(?m)^(\w+_ms): (\S+)$")
    text = (FOLDER / "mix-profile.yaml").read_text()
    path.parent.mkdir(exist_ok=True)
    path.write_text(names.sub(lambda m: f"{m[1]}: {float(m[2]) * factor:g}", text))
    return str(path)


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Started]:
    """Start a command that serves, on any free port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "slosched", *arguments,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    drain = None
    try:
        found, lines = None, process.stderr
        while lines and found is None:
            line = await lines.readline()
            found = _URL.search(line)
            if not line:
                raise EngineError(f"slosched {arguments[0]} did not start")
        drain = asyncio.create_task(lines.read()) if lines else None
        yield Started(found[1].decode() if found else "", process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drain:
            await drain


@asynccontextmanager
async def engines(scheduler: str) -> AsyncIterator[list[dict[str, object]]]:
    """Start the four; gives what the gateway is to be told of them."""
    async with AsyncExitStack() as stack:
        replicas = []
        for i, factor in enumerate(SLOWER):
            sets = [part for one in engine(factor, scheduler) for part in ("--set", one)]
            one = await stack.enter_async_context(
                started("simulated-engine", "--port", "0", "--config", str(FOLDER / "mix.yaml"),
                        "--set", "predictor.kind=history", *sets)
            )  # fmt: skip
            replicas.append(
                {"url": one.url, "name": f"replica-{i}", "profile": profile(factor),
                 "max_num_seqs": SLOTS}
            )  # fmt: skip
        yield replicas


@asynccontextmanager
async def gateway(replicas: list[dict[str, object]], *overrides: str) -> AsyncIterator[Started]:
    """Start the front end, which knows the profiles, and lengths by `history` alone."""
    listed = f"fleet.replicas={orjson.dumps(replicas).decode()}"
    sets = [part for one in (listed, *overrides) for part in ("--set", one)]
    async with started("gateway", "--port", "0", "--config", str(FOLDER / "mix.yaml"), "--set",
                       "predictor.kind=history", *sets) as one:  # fmt: skip
        yield one


async def ask(
    connection: Connection, number: int, traced: TracedRequest, answer: Answer, began: float
) -> None:
    request = traced.request
    await asyncio.sleep(max(began + request.arrival - monotonic(), 0.0))
    prompt = np.arange(request.input_tokens) + number * _IDS
    body = {"prompt": prompt, "stream": True, "model": "simulated"}
    headers = to_headers(Tag(request.slo_class, request.slo))
    headers["x-simulated-output-tokens"] = str(traced.output_tokens)
    data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    await connection.stream(Call("/v1/completions", data, headers), answer, _LONGEST_S)


def attained(traced: TracedRequest, answer: Answer) -> bool:
    """Whether an answer came whole, and within all limits."""
    if answer.error:
        return False
    first, last = answer.times[0] - answer.sent, answer.times[-1] - answer.sent
    pace = (last - first) / max(answer.tokens - 1, 1)
    return traced.request.slo.attained(first, pace, last)
