"""What the end of an answer says: how many tokens it has, and why it ended."""

import re
from collections.abc import AsyncIterator

TAIL = 4096  # bytes at the end of a body, in which this is looked for
OUTPUT_TOKENS = re.compile(rb'"(?:completion|output)_tokens":\s*(\d+)')
_INPUT_TOKENS = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d+)')
_REASON = re.compile(rb'"finish_reason":\s*"(\w{1,32})"')


class AnswerEnd:
    """Reads along with an answer, and remembers its end."""

    def __init__(self) -> None:
        self._tail = b""

    async def of(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a body on."""
        async for chunk in body:
            self._tail = (self._tail + chunk)[-TAIL:]
            yield chunk

    @property
    def input_tokens(self) -> int | None:
        """Tokens of the prompt; None if it does not say."""
        found = _INPUT_TOKENS.findall(self._tail)
        return int(found[-1]) if found else None

    @property
    def output_tokens(self) -> int | None:
        """Tokens of the answer; None if it does not say."""
        found = OUTPUT_TOKENS.findall(self._tail)
        return int(found[-1]) if found else None

    @property
    def finish_reasons(self) -> list[str]:
        """Why it ended, for each of its choices that says so."""
        return [reason.decode() for reason in _REASON.findall(self._tail)]
