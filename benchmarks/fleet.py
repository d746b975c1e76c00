"""Who gets a request: our assignment beside the others, by real HTTP before simulated engines."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Annotated

import numpy as np
import orjson
import typer
from common import FOLDER, Json, Measure, Quick, Seed, finish, note, run
from mix import Mix, Traces, settings
from sources import served_per_second

from slosched.client.answer import Answer
from slosched.client.connection import Call, Connection
from slosched.core.errors import EngineError
from slosched.core.request import TracedRequest
from slosched.core.tags import Tag, to_headers

ASSIGNMENTS = (
    "planned", "fewest_outstanding", "largest_memory", "power_of_two", "prefix_affinity",
    "round_robin",
)  # fmt: skip
SLOWER = (2.0, 3.0, 4.0, 6.0)  # than the mix's profile, so that two cores can serve four of them
SLOTS = 16
_LONGEST_S = 300.0
_IDS = 100_000  # of tokens, so that no two prompts begin alike
_URL = re.compile(rb"url=(\S+)")


def main(
    traces: Traces = None,
    assignment: Annotated[list[str] | None, typer.Option(help="As often as wanted.")] = None,
    limit: Annotated[int, typer.Option(min=10, help="Requests of each kind.")] = 200,
    load: Annotated[float, typer.Option(help="Of what all replicas can serve.")] = 1.5,
    rounds: Annotated[int, typer.Option(min=1, help="Each with other classes.")] = 1,
    scheduler: Annotated[str, typer.Option(help="Of the engines.")] = "vllm-fcfs",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Replay a mix against four simulated engines of different speed behind the gateway.

    Engines of 16 slots, 2, 3, 4 and 6 times as slow as the mix's profile, each a process of its
    own, as is the gateway; which knows their profiles, and lengths by `history` alone. Each
    assignment of a round gets the same requests, and processes started afresh.
    """
    chosen, limit = assignment or list(ASSIGNMENTS), 15 if quick else limit
    details = []
    for number in range(rounds):
        trace = _trace(Mix(traces, limit), load, seed + number)
        for kind in chosen:
            one = asyncio.run(_served(trace, kind, scheduler))
            note(f"round {number + 1}, {kind}: {one}")
            details.append({"round": number, "assignment": kind, **one})
    shares = {kind: [d["attained"] for d in details if d["assignment"] == kind] for kind in chosen}
    best = max((np.mean(v) for kind, v in shares.items() if kind != "planned"), default=0.0)
    measures = []
    for kind, kept in shares.items():
        met = bool(np.mean(kept) > best) if kind == "planned" else None
        text = f"{100 * np.mean(kept):.1f}% ({', '.join(f'{100 * k:.1f}' for k in kept)})"
        measures.append(Measure(kind, text, "above all others" if met is not None else "", met))
    finish(measures, quick, json, details)


def _trace(mix: Mix, load: float, seed: int) -> list[TracedRequest]:
    """Return the requests, as many a second as `load` of what the engines can serve."""
    rate = 0.0
    for factor in SLOWER:
        own = settings(_engine(factor, "vllm-fcfs"))
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


def _engine(factor: float, scheduler: str) -> list[str]:
    return [
        f"engine.profile={_profile(factor)}", f"engine.max_num_seqs={SLOTS}",
        f"engine.scheduler={scheduler}",
    ]  # fmt: skip


def _profile(factor: float) -> str:
    """Write the profile of an engine that is slower than the mix's."""
    path = FOLDER.parent / ".cache" / f"mix-profile-{factor:g}.yaml"
    names = re.compile(r"(?m)^(\w+_ms): (\S+)$")
    text = (FOLDER / "mix-profile.yaml").read_text()
    path.parent.mkdir(exist_ok=True)
    path.write_text(names.sub(lambda m: f"{m[1]}: {float(m[2]) * factor:g}", text))
    return str(path)


@asynccontextmanager
async def _started(*arguments: str) -> AsyncIterator[str]:
    """Start a command that serves; gives its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "slosched", *arguments, "--port", "0",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        found, lines = None, process.stderr
        while lines and found is None:
            line = await lines.readline()
            found = _URL.search(line)
            if not line:
                raise EngineError(f"slosched {arguments[0]} did not start")
        drain = asyncio.create_task(lines.read()) if lines else None
        yield found[1].decode() if found else ""
        if drain:
            drain.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _served(
    trace: Sequence[TracedRequest], assignment: str, scheduler: str
) -> dict[str, float]:
    """Replay the trace, open loop; return what came of it."""
    async with AsyncExitStack() as stack:
        replicas = []
        for i, factor in enumerate(SLOWER):
            sets = [part for one in _engine(factor, scheduler) for part in ("--set", one)]
            url = await stack.enter_async_context(
                _started("simulated-engine", "--config", str(FOLDER / "mix.yaml"), "--set",
                         "predictor.kind=history", *sets)
            )  # fmt: skip
            replicas.append(
                {"url": url, "name": f"replica-{i}", "profile": _profile(factor),
                 "max_num_seqs": SLOTS}
            )  # fmt: skip
        listed = orjson.dumps(replicas).decode()
        url = await stack.enter_async_context(
            _started("gateway", "--config", str(FOLDER / "mix.yaml"), "--set",
                     "predictor.kind=history", "--set", f"fleet.replicas={listed}", "--set",
                     f"fleet.assignment={{kind: {assignment}}}")
        )  # fmt: skip
        connection = await stack.enter_async_context(Connection(url))
        answers = [Answer() for _ in trace]
        began = monotonic() + 1.0
        await asyncio.gather(
            *(
                _ask(connection, number, traced, answers[number], began)
                for number, traced in enumerate(trace)
            )
        )
    return _sum_up(trace, answers)


async def _ask(
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


def _sum_up(trace: Sequence[TracedRequest], answers: Sequence[Answer]) -> dict[str, float]:
    kept = failed = 0
    ends = []
    for traced, answer in zip(trace, answers, strict=True):
        if answer.error:
            failed += 1
            continue
        first, last = answer.times[0] - answer.sent, answer.times[-1] - answer.sent
        pace = (last - first) / max(answer.tokens - 1, 1)
        kept += traced.request.slo.attained(first, pace, last)
        ends.append(last)
    return {
        "attained": kept / len(trace), "failed": failed, "mean_e2e_s": float(np.mean(ends)),
    }  # fmt: skip


if __name__ == "__main__":
    run(main)
