"""A replica as the queue sees it: what it holds, what it was given, and how fast it is."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

from slosched.core.fleet import Engine
from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits
from slosched.dispatch.reading import Others, Reading

State = Literal["ready", "draining", "away"]

_REMEMBERED = 256  # steps
_ENOUGH = 32  # of them, before they count
_QUANTILE = 0.25  # of them, that counts
_SLOWEST = 20.0
_READINGS = 2  # in all of which a request shows that is not ours


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
    reads_kv
        Whether the size of its KV cache is as it says itself, not as `limits` have it.

    Attributes
    ----------
    state
        Whether it gets requests, finishes those that it has, or is not there.
    given
        Tokens of KV cache that each request that it has will need at least, by id.
    others
        What it has that was not given here.
    decoding, context_tokens
        How many of those given have begun to be answered, and the tokens of their contexts.
    number
        Of a queue's replicas, in the order in which they came; no two ever have the same.
    full
        Whether all its slots are taken.
    """

    name: str
    limits: EngineLimits
    latency: LinearLatency
    ahead: int = 0
    reads_kv: bool = False
    state: State = "ready"
    given: dict[str, int] = field(default_factory=dict)
    others: Others = field(default_factory=Others)
    decoding: int = 0
    context_tokens: int = 0
    number: int = field(default=-1, init=False)
    full: bool = field(default=False, init=False)
    _kv: int = 0
    _slower: float | None = 1.0  # None where it is to be found anew
    _ratios: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _readings: deque[tuple[Reading, int]] = field(default_factory=lambda: deque(maxlen=_READINGS))

    @property
    def configured(self) -> tuple[object, ...]:
        """What it was made from, whatever was learnt since."""
        kv = None if self.reads_kv else self.limits.num_kv_blocks
        sizes = (self.limits.max_num_seqs, self.limits.max_num_batched_tokens)
        return self.name, self.latency, *sizes, self.limits.block_size, kv, self.ahead

    def anew(self, name: str) -> "Replica":
        """Return a fresh one that was made from the same, but for its name."""
        return Replica(name, self.limits, self.latency, self.ahead, self.reads_kv)

    @property
    def outstanding(self) -> int:
        """Requests that it has."""
        return len(self.given) + self.others.requests

    @property
    def free_kv(self) -> int:
        """Tokens of its KV cache that nobody who is there needs."""
        return self.limits.kv_tokens - self._kv - self.others.kv_tokens

    @property
    def reading(self) -> Reading | None:
        """What it said of itself last."""
        return self._readings[-1][0] if self._readings else None

    @property
    def slower(self) -> float:
        """How many times as long its steps take as its latency model has them."""
        if self._slower is None:
            seen = sorted(self._ratios)[int(_QUANTILE * len(self._ratios))]
            self._slower = min(max(seen, 1 / _SLOWEST), _SLOWEST)
        return self._slower

    @property
    def step_s(self) -> float:
        """Seconds that its shortest step takes."""
        return self.latency.base * self.slower

    def engine(self, margin: float = 1.0) -> Engine:
        """Return what plans reckon with: an engine that is slower than it is by a margin.

        Of its slots and KV it has those that others leave; at least one.
        """
        limits = self.limits
        if self.others.requests:
            blocks = limits.num_kv_blocks - self.others.kv_tokens // limits.block_size
            limits = replace(
                limits,
                max_num_seqs=max(limits.max_num_seqs - self.others.requests, 1),
                num_kv_blocks=max(blocks, 1),
            )
        return Engine(limits, self.latency.slower(self.slower * margin))

    def has_room(self, tokens: int) -> bool:
        """Whether a request that needs so many tokens of KV cache can begin there soon."""
        if self.state != "ready":
            return False
        if not self.outstanding:  # whoever is alone there has all that there is
            return True
        slots = self.limits.max_num_seqs + self.ahead
        return self.outstanding < slots and tokens <= self.free_kv

    def _count(self) -> None:
        slots = self.limits.max_num_seqs + self.ahead
        self.full = self.outstanding >= slots

    def give(self, request_id: str, tokens: int) -> None:
        """Note that it has a request, which needs so many tokens of KV cache."""
        self.given[request_id] = tokens
        self._kv += tokens
        self._count()

    def take(self, request_id: str) -> None:
        """Note that it has a request no more."""
        self._kv -= self.given.pop(request_id)
        self._count()

    def saw_step(self, seconds: float, sequences: int, context_tokens: int) -> None:
        """Learn how fast it is from the time between two tokens of one request.

        Of many, some were made longer by prompts, in bursts most; the lower quartile is that of
        steps that decode.
        """
        expected = self.latency.step(0, sequences, context_tokens)
        self._ratios.append(seconds / expected)
        if len(self._ratios) >= _ENOUGH:
            self._slower = None

    def tokens_in(self, seconds: float, input_tokens: int) -> int:
        """Tell how many tokens of an answer it will have made in a time, beside what it has.

        For answers that nobody has seen: too few or too many by as much as steps are thought to be
        too long or too short, so that plans made of either go wrong by nothing.
        """
        prefill = self.latency.step(input_tokens, 1, 0) * self.slower
        step = self.latency.step(0, max(len(self.given), 1), self._kv) * self.slower
        return max(round((seconds - prefill) / step) + 1, 1)

    def said(self, reading: Reading) -> None:
        """Learn from what it says of itself."""
        self._readings.append((reading, len(self.given)))
        if self.reads_kv and reading.kv_tokens:
            blocks = max(reading.kv_tokens // self.limits.block_size, 1)
            self.limits = replace(self.limits, num_kv_blocks=blocks)
        self.others = Others.seen(self._readings, self.limits.kv_tokens)
        self._count()

    def forget(self) -> None:
        """Forget what was learnt from an engine that is gone: another may be in its place."""
        self._ratios.clear()
        self._slower = 1.0
        self._readings.clear()
        self.others = Others()
        self._count()
