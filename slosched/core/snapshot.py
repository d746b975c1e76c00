"""The scheduler's view of one instant: all live requests as arrays, and the engine."""

from dataclasses import dataclass

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.types import BoolArray, FloatArray, IntArray, LiveArray

LIVE = np.dtype(
    [
        ("serial", np.int64),  # order of arrival at the scheduler; unique
        ("arrival", np.float64),  # s
        ("first_token", np.float64),  # s; NaN until it is out
        ("prefill", np.int64),  # prompt tokens still to compute
        (
            "context",
            np.int64,
        ),  # tokens in the KV cache; of who waits, those found there as a prefix
        ("produced", np.int64),  # output tokens so far
        ("length", np.float64),  # predicted output tokens in all
        ("short", np.float64),  # the same if the answer is short or long, see SCENARIOS
        ("long", np.float64),
        ("first_guess", np.float64),  # mean of the three as first predicted; NaN until it is
        ("predict_at", np.int64),  # predict again once this many tokens are out
        ("ttft", np.float64),  # s; inf where there is no limit
        ("tpot", np.float64),
        ("e2e", np.float64),
        ("weight", np.float64),
        ("priority", np.int64),  # higher is more urgent
        ("running", np.bool_),  # holds a slot and KV blocks
        ("admitted_at", np.int64),  # output tokens when it last got its slot
        ("passes", np.int64),  # later arrivals admitted before it
        ("idle", np.int64),  # steps without work since it last had any; -1 before its first step
        ("quantum", np.int64),  # steps for which it stays promoted; 0 if it is not
        ("rank", np.int64),  # place in the newest plan; UNRANKED if it has none
    ]
)
UNRANKED = np.iinfo(np.int64).max
SCENARIOS = ("short", "length", "long")  # means of the thirds of what a length may come to be


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine can hold, in the engine's own words.

    Raises
    ------
    ValueError
        If a limit is below 1.
    """

    max_num_seqs: int = 32
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    num_kv_blocks: int = 50_000

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "num_kv_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({self.max_num_seqs}): every running sequence takes one token"
            )

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds in all."""
        return self.num_kv_blocks * self.block_size


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All live requests at `now`, one row each, in order of arrival.

    Not to be kept: its memory is used again once there is a plan.

    Parameters
    ----------
    now
        Seconds, on the clock of the arrivals.
    live
        Shape (n,), dtype `LIVE`.
    limits, latency
        The engine, and how long its steps take.
    """

    now: float
    live: LiveArray
    limits: EngineLimits
    latency: LinearLatency

    def __len__(self) -> int:
        return len(self.live)

    @property
    def arrival(self) -> FloatArray:
        """Arrival of each request, s."""
        return self.live["arrival"]

    @property
    def first_token(self) -> FloatArray:
        """When each first token came out, s; NaN where it has not."""
        return self.live["first_token"]

    @property
    def prefill(self) -> IntArray:
        """Prompt tokens that each request still has to compute."""
        return self.live["prefill"]

    @property
    def context(self) -> IntArray:
        """Tokens that each request holds in the KV cache."""
        return self.live["context"]

    @property
    def produced(self) -> IntArray:
        """Output tokens so far."""
        return self.live["produced"]

    @property
    def remaining(self) -> IntArray:
        """Predicted output tokens still to come, at least 1."""
        left = np.rint(self.live["length"] - self.live["produced"]).astype(np.int64)
        return np.maximum(left, 1)

    @property
    def scenarios(self) -> IntArray:
        """Output tokens still to come if answers are short, as predicted, or long, shape (3, n)."""
        lengths = np.array([self.live[name] for name in SCENARIOS])
        return np.maximum(np.rint(lengths - self.produced).astype(np.int64), 1)

    @property
    def expected(self) -> FloatArray:
        """Expected output tokens in all: the mean of the scenarios."""
        return np.mean([self.live[name] for name in SCENARIOS], axis=0)

    @property
    def first_guess(self) -> FloatArray:
        """Expected output tokens in all as first predicted, whatever was since; NaN before."""
        return self.live["first_guess"]

    @property
    def ttft(self) -> FloatArray:
        """TTFT limits, s; inf where there is none."""
        return self.live["ttft"]

    @property
    def tpot(self) -> FloatArray:
        """TPOT limits, s; inf where there is none."""
        return self.live["tpot"]

    @property
    def e2e(self) -> FloatArray:
        """End-to-end limits, s; inf where there is none."""
        return self.live["e2e"]

    @property
    def weight(self) -> FloatArray:
        """What attaining each request is worth."""
        return self.live["weight"]

    @property
    def running(self) -> BoolArray:
        """Which requests hold a slot."""
        return self.live["running"]

    @property
    def prefill_service(self) -> FloatArray:
        """Seconds to compute what is left of each prompt with the engine to itself."""
        tokens: FloatArray = self.prefill.astype(np.float64)
        return self.latency.prompt_alone(tokens, self.limits.max_num_batched_tokens)

    @property
    def service(self) -> FloatArray:
        """Seconds that each request still needs if it had the engine to itself.

        Every step is taken at its cheapest for that request alone, so this is a lower bound on
        its time in any batch.
        """
        return self.outlook()[0]

    @property
    def first_service(self) -> FloatArray:
        """Seconds to each first token with the engine to itself; 0 where it is out."""
        return np.where(np.isnan(self.first_token), self.prefill_service, 0.0)

    @property
    def slack(self) -> FloatArray:
        """Seconds that each request can still wait and keep all its limits; inf without any.

        Negative where it cannot keep them even with the engine to itself. A TPOT limit bounds
        the finish only once the first token is out.
        """
        return self.outlook()[1]

    @property
    def hopeless(self) -> BoolArray:
        """Which requests cannot keep their limits any more, whatever is done."""
        return self.outlook()[2]

    def outlook(self) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return `service`, `slack` and `hopeless`, which take as long together as each alone."""
        from slosched.core.outlook import outlook  # brings numba

        of = self.latency
        latency = np.array([of.base, of.per_prefill_token, of.per_sequence, of.per_context_token])
        return outlook(self.live, self.now, self.limits.max_num_batched_tokens, latency)

    def passed(self, least: int) -> IntArray:
        """Rows of whom at least so many later arrivals got a slot before, in order of arrival."""
        from slosched.core.outlook import passed  # brings numba

        rows: IntArray = passed(self.live, least)
        return rows

    @property
    def deadline(self) -> FloatArray:
        """The next deadline of each request, s: first token, then finish; inf without any."""
        started = ~np.isnan(self.first_token)
        first = np.where(started, np.inf, self.arrival + self.ttft)
        return np.minimum(first, self.arrival + self.e2e)
