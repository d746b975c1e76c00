"""What came back for one request, and when."""

from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from slosched.client.chunk import Chunk
from slosched.core.types import FloatArray, IntArray

SHED = "429"
UNREACHABLE = "unreachable"
DISCONNECTED = "disconnected"
UNFINISHED = "unfinished"


@dataclass(slots=True)
class Answer:
    """An answer, filled in while it streams.

    Attributes
    ----------
    sent
        When the request was handed to the network, s on the monotonic clock.
    times, counts
        Of each piece that brought tokens: when it came, and how many tokens there were then.
    over
        Whether nothing more will come.
    error, detail
        "" if it came whole; else what kind of failure (an HTTP status, `timeout`, `unreachable`,
        `disconnected`, `malformed`, `empty`, `client`; `unfinished` if we hung up), and what the
        server said.
    prompt_tokens
        As the server counted them; None if it did not say.
    counted
        Whether the server said how many tokens the answer has; else pieces were counted.
    """

    sent: float = 0.0
    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    over: bool = False
    error: str = ""
    detail: str = ""
    prompt_tokens: int | None = None
    counted: bool = False
    finish_reason: str = ""

    @property
    def tokens(self) -> int:
        """Tokens so far."""
        return self.counts[-1] if self.counts else 0

    @property
    def first(self) -> float:
        """When the first token came, s; NaN before."""
        return self.times[0] if self.times else float("nan")

    @property
    def last(self) -> float:
        """When the newest token came, s; NaN before the first."""
        return self.times[-1] if self.times else float("nan")

    @property
    def gaps(self) -> FloatArray:
        """Seconds between consecutive tokens, shape (tokens - 1,).

        Tokens that came in one piece share the time since the piece before evenly; those of the
        first piece came together.
        """
        if not self.times:
            return np.empty(0)
        more: IntArray = np.diff(np.array(self.counts), prepend=0)
        gaps: FloatArray = np.diff(np.array(self.times), prepend=self.times[0])
        more[0] -= 1
        return np.repeat(gaps / np.maximum(more, 1), more)

    def take(self, chunk: Chunk) -> None:
        """Note what a piece of the answer says; it came just now."""
        if chunk.prompt_tokens is not None:
            self.prompt_tokens = chunk.prompt_tokens
        self.finish_reason = chunk.finish_reason or self.finish_reason
        if chunk.tokens is not None and not chunk.sums_up and (self.counted or not self.times):
            self.counted = True
            self._hear(chunk.tokens)
            return
        if chunk.speaks:
            self._hear(self.tokens + 1)
        if chunk.tokens is not None:
            self.settle(chunk.tokens)

    def settle(self, total: int) -> None:
        """Spread the tokens that the answer has in all over the pieces that were counted."""
        pieces = len(self.times)
        if self.counted or not pieces:
            return
        self.counted = True
        if total >= pieces:
            self.counts = [1 + i * (total - 1) // max(pieces - 1, 1) for i in range(pieces)]
            self.counts[-1] = total

    def fail(self, kind: str, detail: str = "") -> None:
        """Note why it did not come whole."""
        self.error, self.detail = kind, detail

    def _hear(self, tokens: int) -> None:
        if tokens > self.tokens:
            self.times.append(monotonic())
            self.counts.append(tokens)
