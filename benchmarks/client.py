"""An open-loop client: requests go out at their times, whatever the server does."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import aiohttp
from common import note


@dataclass(frozen=True)
class Call:
    """One request: when it is sent, what it says, as what, and how long its answer is exactly."""

    at: float  # s
    slo_class: str
    prompt: str
    output_tokens: int
    priority: int = 0  # higher is more urgent


@dataclass(frozen=True)
class Answer:
    """Seconds from when a request should have been sent to its first token and its end."""

    slo_class: str
    ttft: float
    e2e: float


async def replay(url: str, calls: Sequence[Call]) -> list[Answer]:
    """Send all calls, in their order, and wait for all answers.

    Raises
    ------
    SystemExit
        If the server refuses one.
    """
    # A connection each, as of so many users: vLLM closes idle ones just when the next burst comes.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        for _ in range(2):  # the first steps of an engine are slow
            warm_up = Call(0.0, calls[0].slo_class, "Say hello.", 4)
            await _ask(session, url, warm_up, monotonic())
        started = monotonic()
        return await asyncio.gather(*(_ask(session, url, call, started) for call in calls))


async def _ask(session: aiohttp.ClientSession, url: str, call: Call, started: float) -> Answer:
    intended = started + call.at
    await asyncio.sleep(max(intended - monotonic(), 0))
    body = {
        "model": "live",
        "messages": [{"role": "user", "content": call.prompt}],
        "max_tokens": call.output_tokens,
        "min_tokens": call.output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "priority": -call.priority,  # vLLM's lower numbers go first
    }
    headers = {"x-slo-class": call.slo_class}
    first = None
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        if answer.status != 200:
            note(await answer.text())
            raise SystemExit(f"error: the server answered {answer.status}")
        async for line in answer.content:
            # The chunk that only names the role comes before any token.
            if first is None and line.startswith(b"data: {") and _speaks(line):
                first = monotonic()
    end = monotonic()
    return Answer(call.slo_class, (first or end) - intended, end - intended)


def _speaks(line: bytes) -> bool:
    choices = json.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))
