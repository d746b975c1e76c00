"""Requests of known size to the engine that is measured."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from slosched.calibrate.steps import Stream
from slosched.client.answer import Answer
from slosched.client.connection import Call, Connection
from slosched.core.errors import EngineError, ServerError
from slosched.core.types import IntArray

PAUSE_S = 0.05  # for the engine to fall idle
POLL_S = 0.002  # how late whoever waits for tokens may hear of them


@dataclass(slots=True)
class Flight:
    """A request in flight."""

    prompt: int
    answer: Answer
    task: asyncio.Task[None]

    def reached(self, tokens: int) -> bool:
        """Whether it has so many tokens, or will never have."""
        return self.answer.over or self.answer.tokens >= tokens

    @property
    def stream(self) -> Stream:
        """What has come of it by now."""
        answer = self.answer
        return Stream(self.prompt, answer.sent, np.array(answer.times), np.array(answer.counts))


@dataclass(slots=True)
class Probe:
    """Sends prompts that nobody has sent before; hangs up on what is left when the block ends.

    Parameters
    ----------
    model
        Its name on the server.
    ids
        Tokens that prompts may be made of.
    rng
        Draws them: prompts that differ are not found in a prefix cache.
    patience_s
        How long the next token may take.
    salt
        Keeps what an earlier calibration of the same seed left in the prefix cache out of this.
    """

    connection: Connection
    model: str
    ids: IntArray
    rng: np.random.Generator
    patience_s: float = 120.0
    salt: str = field(default_factory=lambda: token_hex(8))
    _flights: list[Flight] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.hang_up()

    def send(self, prompt: int, output: int) -> Flight:
        """Send a prompt of so many tokens, to be answered by exactly so many."""
        body = {
            "model": self.model,
            "prompt": self.ids[self.rng.integers(len(self.ids), size=prompt)],
            "max_tokens": output,
            "cache_salt": self.salt,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        call = Call("/v1/completions", orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), {})
        answer = Answer()
        task = asyncio.create_task(self.connection.stream(call, answer))
        self._flights.append(Flight(prompt, answer, task))
        return self._flights[-1]

    async def until(self, flights: Sequence[Flight], tokens: int) -> None:
        """Wait until each has so many tokens, or is over.

        Raises
        ------
        EngineError
            If one fails, or no token comes for too long.
        ServerError
            If the server does not count tokens.
        """
        await self._wait(flights, lambda: all(f.reached(tokens) for f in flights))

    async def until_any(self, flights: Sequence[Flight], tokens: int) -> None:
        """Wait until one has so many tokens, or is over; errors as of `until`."""
        await self._wait(flights, lambda: any(f.reached(tokens) for f in flights))

    async def finish(self, flights: Sequence[Flight]) -> None:
        """Wait until all are over; EngineError as of `until`."""
        await self.until(flights, 1 << 62)

    async def hang_up(self) -> None:
        """Give up whatever is in flight, and let the engine end the step that it is at."""
        given_up = any(not flight.task.done() for flight in self._flights)
        for flight in self._flights:
            flight.task.cancel()
        for flight in self._flights:
            with suppress(asyncio.CancelledError):
                await flight.task
        gaps = [float(np.median(g)) for f in self._flights if len(g := f.answer.gaps)]
        self._flights.clear()
        if given_up:
            await asyncio.sleep(PAUSE_S + 2 * max(gaps, default=0.0))

    async def _wait(self, flights: Sequence[Flight], reached: Callable[[], bool]) -> None:
        clock = asyncio.get_running_loop().time
        seen, since = -1, clock()
        while not reached():
            if (now := sum(f.answer.tokens for f in flights)) != seen:
                seen, since = now, clock()
            elif clock() - since > self.patience_s:
                raise EngineError(f"the server sent no token for {self.patience_s:g} s")
            await asyncio.sleep(POLL_S)
        for flight in flights:
            _check(flight.answer)


def _check(answer: Answer) -> None:
    if answer.error:
        raise EngineError(
            f"the server failed while it was measured: {answer.error}: {answer.detail}"
        )
    if answer.over and not answer.counted:
        raise ServerError("the server does not count tokens as vLLM does: it cannot be measured")
