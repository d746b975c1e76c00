"""A connection to a fake engine in the same event loop, without any network."""

import asyncio
from types import TracebackType
from typing import Any, Self

import orjson

from slosched.client.answer import UNFINISHED, Answer
from slosched.client.chunk import Chunk
from slosched.client.connection import Call
from slosched.core.errors import ServerError
from tests.engines.fake_engine import FakeEngine


class FakeConnection:
    """In the place of `Connection`: every piece of an answer brings one token."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.url = "http://fake"
        self.calls: list[Call] = []

    def __call__(self, *_: object) -> Self:
        """Stand for the class: whatever is to be connected to is this engine."""
        return self

    async def __aenter__(self) -> Self:
        self._engine = asyncio.create_task(self.engine.serve())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._engine.cancel()

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        self.calls.append(call)
        body = orjson.loads(call.body)
        answer.sent = asyncio.get_running_loop().time()
        prompt, output = len(body["prompt"]), body["max_tokens"]
        try:
            async with asyncio.timeout(timeout_s):
                async for tokens in self.engine.generate(prompt, output):
                    ends = "length" if tokens == output else ""
                    answer.take(Chunk(True, tokens, prompt, sums_up=False, finish_reason=ends))
        except TimeoutError:
            answer.fail("timeout")
        except asyncio.CancelledError:
            answer.fail(UNFINISHED)
            raise
        finally:
            answer.over = True

    async def get(self, path: str, _: float = 5.0) -> bytes:
        pages = {
            "/v1/models": orjson.dumps(self.engine.models()),
            "/version": b'{"version": "0.32.0"}',
            "/metrics": self.engine.metrics().encode(),
        }
        return pages[path]

    async def post(self, path: str, *_: object) -> Any:
        raise ServerError(f"no {path} here")
