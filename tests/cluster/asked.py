"""Requests to a pool, each with what became of it."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

Outcome = Literal["answered", "refused", "broken", "hung"]
SILENT_S = 60.0
"""Whoever hears nothing for so long has been forgotten."""


@dataclass
class Asked:
    """One request; times are of the loop's clock.

    Parameters
    ----------
    slo_class
        What it asked for.
    sent, began, ended
        When its answer's head came, and its end; None as long as they have not.
    code
        Of whoever refused it: status and error, `503 picker_unavailable`.
    """

    slo_class: str
    sent: float
    began: float | None = None
    ended: float | None = None
    status: int = 0
    replica: str = ""
    served_as: str = ""
    retry_after: str = ""
    code: str = ""
    outcome: Outcome = "hung"


async def ask(
    client: aiohttp.ClientSession, url: str, slo_class: str, tokens: int, **headers: str
) -> Asked:
    """Ask for an answer of so many tokens, and hear it to its end."""
    clock = asyncio.get_running_loop().time
    one = Asked(slo_class, clock())
    body = {"model": "simulated", "prompt": "Once upon a time", "max_tokens": 512, "stream": True}
    wanted = {"x-slo-class": slo_class, "x-simulated-output-tokens": str(tokens)}
    try:
        async with client.post(
            f"{url}/v1/completions",
            json=body,
            headers=wanted | headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENT_S),
        ) as response:
            one.began, one.status = clock(), response.status
            one.replica = response.headers.get("x-slosched-replica", "")
            one.served_as = response.headers.get("x-slosched-class", "")
            one.retry_after = response.headers.get("retry-after", "")
            raw = await response.read()
    except aiohttp.ServerTimeoutError:
        return one
    except aiohttp.ClientError as error:
        one.code = repr(error)
        one.outcome = "broken"
    else:
        one.code = "" if one.status == 200 else f"{one.status} {_code(raw)}"
        one.outcome = _outcome(one.status, raw, tokens)
    one.ended = clock()
    return one


def _outcome(status: int, raw: bytes, tokens: int) -> Outcome:
    if status != 200:
        return "refused"
    events = [line.removeprefix(b"data: ") for line in raw.splitlines() if line]
    if not events or events[-1] != b"[DONE]":
        return "broken"
    texts = [_text(orjson.loads(event)) for event in events[:-1]]
    return "answered" if sum(map(bool, texts)) == tokens else "broken"


def _text(event: dict[str, Any]) -> str:
    return "".join(choice.get("text", "") for choice in event.get("choices", ()))


def _code(raw: bytes) -> str:
    try:
        return str(orjson.loads(raw)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return raw[:80].decode(errors="replace")
