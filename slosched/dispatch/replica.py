"""A replica as the queue sees it: what it holds, what it was given, and how fast it is."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from slosched.core.fleet import Engine
from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits

State = Literal["ready", "draining", "away"]

_REMEMBERED = 256  # steps
_ENOUGH = 16  # of them, before they count
_SLOWEST = 20.0


@dataclass(eq=False, slots=True)
class Replica:
    """One engine behind the queue.

    Parameters
    ----------
    name
        Unique.
    limits, latency
        What it holds, and how long its steps take, as far as is known.
    ahead
        Requests that it may be given beyond its slots, so that none of these is empty while the
        next one is on its way.

    Attributes
    ----------
    state
        Whether it gets requests, finishes those that it has, or is not there.
    given
        Tokens of KV cache that each request that it has will need at least, by id.
    """

    name: str
    limits: EngineLimits
    latency: LinearLatency
    ahead: int = 0
    state: State = "ready"
    given: dict[str, int] = field(default_factory=dict)
    _kv: int = 0
    _ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def outstanding(self) -> int:
        """Requests that it has."""
        return len(self.given)

    @property
    def free_kv(self) -> int:
        """Tokens of its KV cache that nobody who is there needs."""
        return self.limits.kv_tokens - self._kv

    @property
    def slower(self) -> float:
        """How many times as long its steps take as its latency model has them."""
        if len(self._ratios) < _ENOUGH:
            return 1.0
        return min(max(median(self._ratios), 1 / _SLOWEST), _SLOWEST)

    def engine(self, margin: float = 1.0) -> Engine:
        """Return what plans reckon with: an engine that is slower than it is by a margin."""
        return Engine(self.limits, self.latency.slower(self.slower * margin))

    def has_room(self, tokens: int) -> bool:
        """Whether a request that needs so many tokens of KV cache can begin there soon."""
        if self.state != "ready":
            return False
        if not self.given:  # whoever is alone there has all that there is
            return True
        slots = self.limits.max_num_seqs + self.ahead
        return self.outstanding < slots and tokens <= self.free_kv

    def give(self, request_id: str, tokens: int) -> None:
        """Note that it has a request, which needs so many tokens of KV cache."""
        self.given[request_id] = tokens
        self._kv += tokens

    def take(self, request_id: str) -> None:
        """Note that it has a request no more."""
        self._kv -= self.given.pop(request_id)

    def saw_step(self, seconds: float, sequences: int, context_tokens: int) -> None:
        """Learn how fast it is from the time between two tokens of one request.

        Of many, some were made longer by prompts; the median is that of steps that decode.
        """
        expected = self.latency.step(0, sequences, context_tokens)
        self._ratios.append(seconds / expected)
