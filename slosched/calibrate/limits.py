"""What an engine can hold: asked where the server tells it, measured where it shows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from slosched.calibrate import steps
from slosched.calibrate.probe import Flight, Probe
from slosched.client.connection import Connection
from slosched.client.server import ServedModel, metrics, total
from slosched.core.errors import EngineError, ServerError
from slosched.core.latency import LinearLatency

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_CACHE = "vllm:cache_config_info"
_CROWDS = (8, 32, 128, 512, 2048)
_WORD = 4  # tokens of the prompts of a crowd
_SPEECH = 128  # tokens of their answers
_POLL_S = 0.2
_POLLS = 300
_SAME = 4  # steps with the same number of sequences
_SETTLED = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an engine, as far as they are known.

    Parameters
    ----------
    known_from
        `asked`, `given` or `measured`, by the name of the limit.
    """

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int | None = None
    num_kv_blocks: int | None = None
    max_model_len: int | None = None
    known_from: dict[str, str] = field(default_factory=dict)

    @property
    def kv_tokens(self) -> int | None:
        """Tokens that the KV cache holds in all."""
        if self.block_size is None or self.num_kv_blocks is None:
            return None
        return self.block_size * self.num_kv_blocks

    def known(self, how: str, **limits: int | None) -> "Limits":
        """Return the same with more limits known; None says nothing."""
        named = {name: value for name, value in limits.items() if value is not None}
        sources = {**self.known_from, **dict.fromkeys(named, how)}
        return replace(self, known_from=sources, **named)


async def ask(connection: Connection, model: ServedModel) -> Limits:
    """Read what the server tells.

    Raises
    ------
    ServerError
        If it has several engines, or serves somebody else just now.
    """
    samples = await metrics(connection)
    caches = [sample for sample in samples if sample.name == _CACHE]
    if len(caches) > 1:
        raise ServerError(f"{connection.url}: has {len(caches)} engines: measure a server with one")
    if busy := (total(samples, RUNNING) or 0) + (total(samples, WAITING) or 0):
        raise ServerError(
            f"{connection.url}: serves {busy:.0f} requests just now: measure an idle server"
        )
    labels = caches[0].labels if caches else {}
    return Limits().known(
        "asked",
        max_model_len=model.max_model_len,
        block_size=_whole(labels.get("block_size")),
        num_kv_blocks=_whole(labels.get("num_gpu_blocks")),
    )


async def measure_slots(probe: Probe, limits: Limits) -> int | None:
    """Find `max_num_seqs`: send more than enough, and see how many run while others wait.

    None if the server has no metrics, or as many run as were ever sent.
    """
    for crowd in _CROWDS:
        if limits.num_kv_blocks is not None and crowd > limits.num_kv_blocks // 2:
            return None  # blocks would end before slots do
        async with probe:
            found = await _running(probe, [probe.send(_WORD, _SPEECH) for _ in range(crowd)])
        await _idle(probe.connection)
        if found is None or found < crowd:
            return found
    return None


async def _running(probe: Probe, crowd: Sequence[Flight]) -> int | None:
    """Watch a crowd until the number that run stays; return it. None if the server does not say.

    It stays if it does so for some steps, as the tokens show that come meanwhile.
    """
    most = since = steps = 0
    while steps < _SPEECH and most < len(crowd):
        await probe.until_any(crowd, steps + 1)
        running = total(await metrics(probe.connection), RUNNING)
        if running is None:
            return None
        steps = max(flight.answer.tokens for flight in crowd)
        if running > most:
            most, since = int(running), steps
        elif steps - since >= _SAME:
            break
    return most


async def _idle(connection: Connection) -> None:
    """Wait until what was given up is gone."""
    for _ in range(_POLLS):
        if not total(await metrics(connection), RUNNING):
            return
        await asyncio.sleep(_POLL_S)
    raise EngineError("the server goes on with requests that were given up")


async def measure_budget(probe: Probe, rough: LinearLatency, longest: int) -> int | None:
    """Find `max_num_batched_tokens`: the shortest prompt that needs two steps beside a decode.

    That decode takes one token of each step, so a prompt of as many tokens as a step has does not
    fit by one. None if prompts up to `longest` all go in one step, or if so few go in one that
    its time does not tell it from the others.
    """
    low = 0
    for high in _sizes(rough, longest):
        if not await _in_one_step(probe, high):
            break
        low = high
    else:
        return None
    if not low:
        return None
    # Mostly a power of two, as what is tried.
    if high - 1 > low and await _in_one_step(probe, high - 1):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if await _in_one_step(probe, middle):
            low = middle
        else:
            high = middle
    return high


def _sizes(rough: LinearLatency, longest: int) -> list[int]:
    """Powers of two between the least prompt that makes a step half as long again, and the longest.

    With both of these.
    """
    least = ceil(rough.base / max(rough.per_prefill_token, 1e-9) / 2)
    powers = (1 << k for k in range(5, 31))
    between = [size for size in powers if least < size < longest]
    return [least, *between, longest] if least < longest else []


async def _in_one_step(probe: Probe, prompt: int) -> bool:
    """Whether a prompt goes in one step beside a decode; the majority of up to three trials."""
    votes: list[bool] = []
    while max(votes.count(True), votes.count(False)) < 2:
        async with probe:
            witness = probe.send(_WORD, _SPEECH)
            await probe.until([witness], 2 * _SETTLED)
            newcomer = probe.send(prompt, 1)
            await probe.finish([newcomer])
            await probe.until([witness], witness.answer.tokens + 2)
        votes.append(steps.chunks(witness.stream, newcomer.stream) == 1)
    return votes.count(True) == 2


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
