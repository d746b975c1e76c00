"""From the times of tokens to stretches of engine steps, as far as they show from outside.

All sequences that decode get a token in every step, so that a stream of tokens counts steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from slosched.calibrate.observation import Observation, Regime
from slosched.core.types import FloatArray, IntArray

BLOCK = 8  # steps that are measured together: a disturbance spoils few of them
MARGIN = 2  # steps beside a change, which nobody saw at the very same time


@dataclass(frozen=True, slots=True)
class Stream:
    """The tokens of one answer.

    Parameters
    ----------
    prompt
        Tokens of the prompt.
    sent
        When it was sent, s.
    times, counts
        Shape (pieces,): when each piece came, s, and how many tokens there were then.
    """

    prompt: int
    sent: float
    times: FloatArray
    counts: IntArray

    @property
    def first(self) -> float:
        """When the first token came."""
        return float(self.times[0])

    @property
    def last(self) -> float:
        """When the last one came."""
        return float(self.times[-1])

    def tokens_at(self, moments: FloatArray) -> IntArray:
        """Tokens that had come by some moments, shape (moments,)."""
        pieces = np.searchsorted(self.times, moments, side="right")
        return np.concatenate(([0], self.counts))[pieces]


def prefill(stream: Stream, most: int | None) -> Observation:
    """Observe a prompt that had the engine to itself, `most` tokens a step if that is known."""
    steps = -(-stream.prompt // most) if most else 1
    what = f"{stream.prompt} tokens"
    took = stream.first - stream.sent
    return Observation(Regime.prefill, what, steps, steps, stream.prompt, 0, 0, 1, took)


def decode(streams: Sequence[Stream], what: str) -> list[Observation]:
    """Observe streams that decode together, and end one after the other.

    Parameters
    ----------
    what
        Of the measurement; the number of sequences is added.
    """
    longest = max(streams, key=lambda stream: stream.last)
    edges = longest.times
    middles = (edges[1:] + edges[:-1]) / 2
    alive = sum((middles < stream.last).astype(np.int64) for stream in streams)
    alive *= edges[:-1] >= max(stream.first for stream in streams)
    found = []
    changes = np.flatnonzero(np.diff(alive, prepend=0, append=0))
    for begin, end in pairwise(changes):
        n = int(alive[begin])
        for at in range(begin + MARGIN, end - MARGIN - BLOCK + 1, BLOCK) if n else ():
            label = f"{n} x {what}"
            found.append(_stretch(Regime.decode, label, streams, longest, at, at + BLOCK))
    return found


def mixed(
    streams: Sequence[Stream], newcomer: Stream, what: str, most: int | None
) -> Observation | None:
    """Observe a prompt's steps beside streams that decode all the while.

    None if no step shows, as where the streams ended too soon. Each stream takes one of the
    `most` tokens of a step, and the prompt what is left.
    """
    witness = max(streams, key=lambda stream: stream.last)
    begin = int(np.searchsorted(witness.times, newcomer.sent, side="right")) - 1
    end = int(np.argmin(np.abs(witness.times - newcomer.first)))
    if begin < 0 or end <= begin:
        return None
    steps = -(-newcomer.prompt // max(most - len(streams), 1)) if most else 1
    return _stretch(Regime.mixed, what, streams, witness, begin, end, newcomer.prompt, steps)


def burst(streams: Sequence[Stream], what: str, most: int | None) -> Observation:
    """Observe prompts that were sent together, up to the last one's first token."""
    earliest = min(streams, key=lambda stream: stream.first)
    sent, end = min(s.sent for s in streams), max(s.first for s in streams)
    after_first = [int(s.tokens_at(np.array([end]))[0]) - 1 for s in streams]
    before = -(-earliest.prompt // most) if most else 1
    context = sum(
        n * stream.prompt + n * (n - 1) / 2 for stream, n in zip(streams, after_first, strict=True)
    )
    steps = before + int(earliest.tokens_at(np.array([end]))[0]) - 1
    return Observation(
        Regime.burst,
        what,
        steps,
        steps,
        sum(stream.prompt for stream in streams),
        sum(after_first),
        context,
        1,
        end - sent,
    )


def _stretch(
    regime: Regime,
    what: str,
    streams: Sequence[Stream],
    witness: Stream,
    begin: int,
    end: int,
    prompt: int = 0,
    prompt_steps: int = 0,
) -> Observation:
    """Sum up the steps between two pieces of the witness."""
    edges, counts = witness.times[begin : end + 1], witness.counts[begin : end + 1]
    middles, steps = (edges[1:] + edges[:-1]) / 2, np.diff(counts)
    sequences = context = 0.0
    for stream in streams:
        taking_part = (middles > stream.first) & (middles < stream.last)
        # With its first token out, a sequence has its whole prompt for a context.
        tokens = stream.prompt + stream.tokens_at(middles) - 1 + (steps - 1) / 2
        sequences += float((steps * taking_part).sum())
        context += float((steps * taking_part * tokens).sum())
    return Observation(
        regime, what, float(steps.sum()), prompt_steps, prompt, sequences, context, 0,
        float(edges[-1] - edges[0]),
    )  # fmt: skip


def tokens_with(witness: Stream, newcomer: Stream) -> int:
    """Say how many tokens a stream had with the step that gave a newcomer its first one."""
    return int(witness.counts[np.argmin(np.abs(witness.times - newcomer.first))])
