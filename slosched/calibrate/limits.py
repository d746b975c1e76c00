"""What an engine can hold: asked where the server tells it, measured where it shows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from slosched.calibrate import steps
from slosched.calibrate.fit import Fitted
from slosched.calibrate.probe import POLL_S, Flight, Probe
from slosched.client.connection import Connection
from slosched.client.server import ServedModel, metrics, total
from slosched.core.errors import EngineError, ServerError

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_CACHE = "vllm:cache_config_info"
_CROWDS = (8, 32, 128, 512, 2048)
_WORD = 4  # tokens of the prompts of a crowd
_SPEECH = 128  # tokens of their answers
_LOOK_S = 0.2
_LOOKS = 300
_SAME = 4  # steps with the same number of sequences
_SETTLED = 4  # tokens after which a sequence decodes for sure
_TRIALS = 4
_LONG_S = 5.0  # of a prompt that is tried some times


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

    It stays if it does so for some steps, as the tokens show that come meanwhile, with the whole
    crowd there: a front end that is short of time lets the first decode alone for a while.
    """
    most = since = steps = 0
    while steps < _SPEECH and most < len(crowd):
        await probe.until_any(crowd, steps + 1)
        samples = await metrics(probe.connection)
        running, waiting = total(samples, RUNNING), total(samples, WAITING)
        if running is None:
            return None
        steps = max(flight.answer.tokens for flight in crowd)
        some_are_away = waiting is not None and running + waiting < len(crowd)
        if running > most or some_are_away:
            most, since = max(most, int(running)), steps
        elif steps - since >= _SAME:
            break
    return most


async def _idle(connection: Connection) -> None:
    """Wait until what was given up is gone."""
    for _ in range(_LOOKS):
        if not total(await metrics(connection), RUNNING):
            return
        await asyncio.sleep(_LOOK_S)
    raise EngineError("the server goes on with requests that were given up")


async def measure_budget(probe: Probe, limits: Limits, rough: Fitted) -> int | None:
    """Find `max_num_batched_tokens`: the shortest prompt that needs two steps beside a decode.

    That decode takes one token of each step, so a prompt of as many tokens as a step has does not
    fit by one. None if prompts go in one step that are as long as the model takes, or take
    seconds.
    """
    async with probe:
        step = rough.latency.step(0, 1, 0)
        # So that it is with the engine in the middle of a step, whatever its way there takes.
        delay = (step / 2 - rough.overhead - POLL_S / 2) % step
        beside = _Beside(probe, (limits.max_model_len or 2 * _SPEECH) - _WORD, delay)
        least = min([await beside.steps(_WORD) for _ in range(2 * _TRIALS)])

        async def in_one_step(prompt: int) -> bool:
            # Whatever disturbs, makes for more steps: one trial without is enough.
            for _ in range(_TRIALS):
                if await beside.steps(prompt) <= least:
                    return True
            return False

        low, high = 1, 32
        while await in_one_step(high):
            low, high = high, 2 * high
            if high + 1 > (limits.max_model_len or high) or _takes_long(rough, high):
                return None
        # Mostly a power of two, as what is tried.
        if await in_one_step(high - 1):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await in_one_step(middle) else (low, middle)
    return high


@dataclass(slots=True)
class _Beside:
    """Counts steps by the tokens of a sequence that decodes.

    Parameters
    ----------
    length
        Tokens of that sequence's answer; another takes over in time.
    delay
        Seconds from its newest token to the sending of a prompt.
    """

    probe: Probe
    length: int
    delay: float
    witness: Flight | None = None

    async def steps(self, prompt: int) -> int:
        """Send a prompt, and count the steps from the newest token to its first one."""
        if self.witness is None or self.witness.answer.tokens > self.length // 2:
            await self.probe.hang_up()
            self.witness = self.probe.send(_WORD, self.length)
            await self.probe.until([self.witness], _SETTLED)
        witness = self.witness
        await self.probe.until([witness], witness.answer.tokens + 1)
        newest = witness.answer.tokens
        await asyncio.sleep(self.delay)
        newcomer = self.probe.send(prompt, 1)
        await self.probe.finish([newcomer])
        await self.probe.until([witness], witness.answer.tokens + 1)
        return steps.tokens_with(witness.stream, newcomer.stream) - newest


def _takes_long(rough: Fitted, prompt: int) -> bool:
    return rough.latency.per_prefill_token * prompt > _LONG_S


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
