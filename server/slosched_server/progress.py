"""How far one answer has come: the instants and events that its latencies are made of."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["finished", "rejected", "shed", "failed", "cancelled"]

_EVENT = b"\ndata:"
_DONE = b"\ndata: [DONE]"
_DELTA = b".delta\ndata:"


@dataclass(slots=True)
class Progress:
    """The times of one request, in seconds of a monotonic clock.

    The first token is taken to come with the first bytes of a streamed body. The time per token
    is an estimate: the time from there to the last event, over the number of events in between.
    vLLM writes one event a token, but joins tokens that became ready together, and its first chat
    event names the role only. Streams of `/v1/responses` name their events: tokens come with those
    whose name ends in `.delta`, and what comes before the first of them tells of no token.

    Parameters
    ----------
    arrival
        When the request came.
    stream
        Whether it is answered token by token; otherwise only its end is known.
    named
        Whether events have names.
    queued
        Seconds that it waited for an engine.
    outcome
        How it ended; "cancelled" until anything else is known.
    status
        Of the answer, 0 before there is one.
    queued_as, replica
        Where there is a queue: what it knows the request by, and who of several got it last.
    attempts
        To how many it was sent.
    tokens
        Of the answer, where its end says how many.
    """

    arrival: float
    stream: bool = False
    named: bool = False
    outcome: Outcome = "cancelled"
    queued: float = 0.0
    first: float | None = None
    last: float = 0.0
    events: int = 0
    status: int = 0
    queued_as: str = ""
    replica: str = ""
    attempts: int = 0
    tokens: int = 0
    _tail: bytes = field(default=b"\n", repr=False)
    _counted: int = field(default=0, repr=False)

    def chunk(self, data: bytes, now: float) -> None:
        """Note a chunk of the body; events may be cut anywhere."""
        if not self.stream:
            return
        fresh = self._fresh(data)
        if self.first is None and (fresh or not self.named):
            self.first = self.last = now
        if fresh:
            self.events += fresh
            self.last = now

    def _fresh(self, data: bytes) -> int:
        """Return the number of tokens' events that have come with a chunk."""
        window = self._tail + data
        if self.named:
            self._tail = window[1 - len(_DELTA) :]
            return window.count(_DELTA)
        fresh = _events(window) - self._counted
        # What an event begins with has a line's end in front only, so that most tails are short.
        self._tail = window[max(window.rfind(b"\n"), len(window) - len(_DONE) + 1) :]
        self._counted = _events(self._tail) if len(self._tail) >= len(_EVENT) else 0
        return fresh

    @property
    def ttft(self) -> float | None:
        """Seconds to the first token, if one was seen."""
        return None if self.first is None else self.first - self.arrival

    @property
    def tpot(self) -> float | None:
        """Seconds for each token after the first, if there was more than one."""
        if self.first is None or self.events < 2:
            return None
        return (self.last - self.first) / (self.events - 1)


def _events(data: bytes) -> int:
    return data.count(_EVENT) - data.count(_DONE)
