"""How much a key may ask for: so many requests and tokens a minute, and so many at once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, isinf
from typing import Literal

from slosched_server.refusals import too_fast, too_large
from slosched_server.upstream import RawHeaders

Units = Literal["requests", "tokens"]
Clock = Callable[[], float]

_HEADERS: Mapping[Units, tuple[bytes, bytes, bytes]] = {
    "requests": (
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    ),
    "tokens": (
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-tokens",
    ),
}
_SOME_S = 1e-6  # as exact as sums of seconds are


class Allowance:
    """So many units a minute on average, and so many at once.

    In any t seconds at most `burst + per_minute * t / 60` are taken. All that is kept is when
    everything would be there again: the generic cell rate algorithm (ITU-T I.371, 2004, annex A).

    Parameters
    ----------
    per_minute, burst
        Units, above 0.
    """

    def __init__(self, per_minute: float, burst: float) -> None:
        self.burst = burst
        self._each_s = 60 / per_minute
        self._full_at = -inf

    def wait_s(self, units: float, now: float) -> float:
        """Return in how many seconds so many may be taken: 0 for now, inf for never."""
        if units > self.burst:
            return inf
        wait = self.refill_s(now) - (self.burst - units) * self._each_s
        return wait if wait > _SOME_S else 0.0

    def take(self, units: float, now: float) -> None:
        """Take units that need not be waited for."""
        self._full_at = max(self._full_at, now) + units * self._each_s

    def left(self, now: float) -> int:
        """Return how many whole units may be taken at once."""
        return max(floor(self.burst - (self.refill_s(now) - _SOME_S) / self._each_s), 0)

    def refill_s(self, now: float) -> float:
        """Return in how many seconds all of the burst is there again."""
        return max(self._full_at - now, 0.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may ask for a minute; None for any amount.

    Parameters
    ----------
    requests, tokens
        Per minute. So many tokens are also what may be asked for at once.
    burst
        Requests that may come at once; None for those of a minute.
    """

    requests: int | None = None
    tokens: int | None = None
    burst: int | None = None


class Meter:
    """What is left of a key's limits.

    Parameters
    ----------
    limits
        As configured.
    clock
        Seconds.

    Attributes
    ----------
    limits
        As given.
    """

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._of: dict[Units, tuple[int, Allowance]] = {}
        if limits.requests is not None:
            burst = limits.burst or limits.requests
            self._of["requests"] = (limits.requests, Allowance(limits.requests, burst))
        if limits.tokens is not None:
            self._of["tokens"] = (limits.tokens, Allowance(limits.tokens, limits.tokens))

    def take(self, what: Units, units: int) -> None:
        """Count some, if there are as many left; else raise `AccessError`, and count none."""
        if what not in self._of:
            return
        now = self._clock()
        per_minute, allowance = self._of[what]
        wait = allowance.wait_s(units, now)
        if isinf(wait):
            raise too_large(what, units, allowance.burst)
        if wait:
            raise too_fast(what, per_minute, round(wait, 6), self.headers())
        allowance.take(units, now)

    def headers(self) -> RawHeaders:
        """Say what is left, as OpenAI does."""
        now = self._clock()
        headers = []
        for what, (per_minute, allowance) in self._of.items():
            limit, remaining, reset = _HEADERS[what]
            headers += [
                (limit, b"%d" % per_minute),
                (remaining, b"%d" % allowance.left(now)),
                (reset, _span(allowance.refill_s(now))),
            ]
        return headers


class Meters:
    """The meters of all keys, which outlive an edit of their file."""

    def __init__(self) -> None:
        self._of: Mapping[bytes, Meter] = {}

    def renew(self, wanted: Mapping[bytes, Limits]) -> Mapping[bytes, Meter]:
        """Return a meter for each; one whose limits are what they were goes on counting."""
        kept = {key: self._of[key] for key in wanted if key in self._of}
        self._of = {
            key: kept[key] if key in kept and kept[key].limits == limits else Meter(limits)
            for key, limits in wanted.items()
        }
        return self._of


def _span(seconds: float) -> bytes:
    """Write a time as OpenAI does: 20ms, 1.5s, 6m0s."""
    ms = ceil(round(seconds * 1e3, 3))
    if ms < 1000:
        return b"%dms" % ms
    minutes, rest = divmod(ms, 60_000)
    return (b"%dm" % minutes if minutes else b"") + b"%gs" % (rest / 1e3)
