"""What an engine says of itself, which tells what others than us keep it busy with."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of an engine at one moment.

    Parameters
    ----------
    running, waiting
        Requests in its batch, and in its own queue.
    kv_used
        Share of its KV cache that is taken, 0 to 1.
    kv_tokens
        Tokens that the whole of it holds; None where it does not say.
    """

    running: int
    waiting: int
    kv_used: float
    kv_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Others:
    """What an engine has that we did not send: its slots and KV are not ours to give."""

    requests: int = 0
    kv_tokens: int = 0

    @classmethod
    def seen(cls, readings: Sequence[tuple[Reading, int]], kv_tokens: int) -> "Others":
        """Tell by some readings, each with how many requests we had there at the time.

        What every one of them shows counts: a request that is just coming or going is in one only.
        """
        if not readings:
            return cls()
        requests = min(max(r.running + r.waiting - ours, 0) for r, ours in readings)
        newest = readings[-1][0]
        share = min(requests / max(newest.running, 1), 1.0)
        return cls(requests, round(newest.kv_used * kv_tokens * share))
