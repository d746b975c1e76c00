"""One request to a simulated engine, from its body to its answer's last byte."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from slosched.core.errors import TagError
from slosched.core.request import Request, TracedRequest
from slosched.core.snapshot import EngineLimits
from slosched.core.tags import Tagger, to_vllm_priority
from slosched.sim.online import Said
from slosched.simulated_engine.asked import Chat, Completion, pages, token_count
from slosched.simulated_engine.driver import Clock, Driver
from slosched.simulated_engine.lengths import Lengths, said_by_header
from slosched.simulated_engine.metrics import EngineMetrics
from slosched.simulated_engine.wording import DONE, Wording, usage
from slosched_server.errors import ApiError, bad_request, bad_tag

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Choice:
    """One answer that is being said; OpenAI's word.

    Parameters
    ----------
    index
        Among those of its request.
    traced
        What the engine is given.
    most
        Tokens that it may have.
    """

    index: int
    traced: TracedRequest
    most: int
    tokens: int = 0
    newest: float = 0.0  # s
    over: bool = False

    @property
    def reason(self) -> str | None:
        """Why it ended; None if it did not."""
        if not self.over:
            return None
        return "length" if self.tokens >= self.most else "stop"


@dataclass(frozen=True)
class Service:
    """What requests are answered with.

    Parameters
    ----------
    driver, clock
        Of the engine.
    limits
        What it holds.
    tagger
        Reads what the front end wrote into bodies.
    lengths
        Of answers of which nobody says how long they are.
    model
        Name of what it serves.
    max_model_len
        Most tokens of a prompt and its answer together.
    overhead
        Seconds before a request is before the scheduler, of the engine's time.
    """

    driver: Driver
    clock: Clock
    limits: EngineLimits
    tagger: Tagger
    lengths: Lengths
    metrics: EngineMetrics
    model: str
    max_model_len: int
    overhead: float = 0.0
    _numbers: Iterator[int] = field(default_factory=count)

    async def answer(self, asked: Chat | Completion, headers: Headers) -> AsyncIterator[bytes]:
        """Say what there is to say, piece by piece; left early, the engine forgets the request.

        Raises
        ------
        ApiError
            Before the first piece, if the request is one that cannot be served.
        """
        if asked.model not in (None, self.model):
            message = f"The model `{asked.model}` does not exist."
            raise ApiError(404, message, "model_not_found", param="model")
        choices = self._choices(asked, headers)
        await asyncio.sleep(self.overhead / self.clock.speed)
        wording = Wording(isinstance(asked, Chat), self.model)
        with self._served(choices) as said:
            pieces = _streamed if asked.stream else _whole
            async for piece in pieces(asked, wording, choices, said):
                yield piece

    def _choices(self, asked: Chat | Completion, headers: Headers) -> list[Choice]:
        try:
            tag = self.tagger.from_xargs(asked.vllm_xargs)
            told = said_by_header(headers)
        except TagError as error:
            raise bad_tag(error) from None
        except ValueError as error:
            raise bad_request(str(error)) from None
        made: list[Choice] = []
        now = self.clock.now()
        for prompt in asked.prompts():
            tokens = token_count(prompt)
            room = self.max_model_len - tokens
            if room < 1:
                raise bad_request(
                    f"the prompt has {tokens} tokens, and the model's context length is "
                    f"{self.max_model_len} with the answer", "prompt",
                )  # fmt: skip
            most = min(asked.max_tokens or room, room)
            named = pages(prompt, asked.cache_salt, self.limits.block_size)
            for i in range(asked.n):
                length = most if asked.ignore_eos else min(most, told or self.lengths.of(prompt, i))
                request = Request(
                    str(next(self._numbers)), now, tokens, tag.slo, tag.slo_class, tag.tenant,
                    asked.max_tokens, to_vllm_priority(asked.priority),
                )  # fmt: skip
                made.append(Choice(len(made), TracedRequest(request, length, "", named), most))
        return made

    @contextmanager
    def _served(self, choices: Sequence[Choice]) -> Iterator["asyncio.Queue[Choice]"]:
        """Let all wait, and hear who says a token; the engine forgets those left unfinished."""
        said: asyncio.Queue[Choice] = asyncio.Queue()
        numbers: dict[int, Choice] = {}
        try:
            for choice in choices:
                number = self.driver.submit(choice.traced, partial(self._hear, choice, said))
                if number is None:
                    raise bad_request("the KV cache can never hold this prompt and its answer")
                numbers[number] = choice
                self.metrics.came(choice.traced.request.input_tokens)
            yield said
        finally:
            for number, choice in numbers.items():
                if not choice.over:
                    self.driver.abort(number)
                    self.metrics.ended("abort", 0.0)

    def _hear(self, choice: Choice, queue: "asyncio.Queue[Choice]", said: Said) -> None:
        arrival = choice.traced.request.arrival
        self.metrics.said(said.tokens, said.at - arrival, said.at - choice.newest)
        choice.tokens, choice.newest, choice.over = said.tokens, said.at, said.over
        if choice.reason:
            self.metrics.ended(choice.reason, said.at - arrival)
        queue.put_nowait(choice)


async def _streamed(
    asked: Chat | Completion,
    wording: Wording,
    choices: Sequence[Choice],
    said: "asyncio.Queue[Choice]",
) -> AsyncIterator[bytes]:
    prompt = choices[0].traced.request.input_tokens
    counts = asked.stream_options.continuous_usage_stats
    told, head = [0] * len(choices), wording.first(len(choices))
    while not all(choice.over for choice in choices) or not said.empty():
        pieces, ready = [head], [await said.get()]
        head = b""
        while not said.empty():
            ready.append(said.get_nowait())
        for choice in ready:
            at = choice.index
            counted = usage(prompt, told[at] + 1) if counts else None
            ends = choice.over and told[at] + 1 == choice.tokens
            pieces.append(wording.token(at, told[at], choice.reason if ends else None, counted))
            told[at] += 1
        yield b"".join(pieces)
    if asked.stream_options.include_usage:
        yield wording.last(usage(prompt, sum(told)))
    yield DONE


async def _whole(
    asked: Chat | Completion,
    wording: Wording,
    choices: Sequence[Choice],
    said: "asyncio.Queue[Choice]",
) -> AsyncIterator[bytes]:
    del asked
    while not all(choice.over for choice in choices):
        await said.get()
    lengths = [(choice.tokens, choice.reason or "") for choice in choices]
    prompt = choices[0].traced.request.input_tokens
    yield wording.whole(lengths, usage(prompt, sum(tokens for tokens, _ in lengths)))
