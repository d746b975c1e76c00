"""A synthetic mix of conversations and code completions, for those who have no traces.

Lengths are lognormal, cut at what the models of the time took, with the medians and tails of the
Azure LLM inference traces of 2023; gaps between arrivals are gamma distributed. Code comes in
bursts, as an editor's requests do. Nothing here is a trace: results on it are comparable with
each other, not with results on Azure's.
"""

from dataclasses import dataclass

import numpy as np

from slosched.core.types import IntArray
from slosched.traces import TraceRecord
from slosched.traces.workload import Gamma


@dataclass(frozen=True)
class Lengths:
    """Lognormal token counts: their median, the deviation of their logarithm, and their bounds."""

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, rng: np.random.Generator, n: int) -> IntArray:
        """Draw n lengths."""
        tokens = np.rint(self.median * np.exp(self.sigma * rng.standard_normal(n)))
        return np.clip(tokens, self.least, self.most).astype(np.int64)


@dataclass(frozen=True)
class Kind:
    """One kind of requests: name of its source, lengths of prompt and answer, arrivals."""

    source: str
    prompt: Lengths
    answer: Lengths
    arrivals: Gamma

    def records(self, rng: np.random.Generator, n: int) -> list[TraceRecord]:
        """Draw n requests, in order of time."""
        times = self.arrivals.times(np.zeros(n), rng).tolist()
        prompts = self.prompt.draw(rng, n).tolist()
        answers = self.answer.draw(rng, n).tolist()
        return [
            TraceRecord(str(i), time, prompt, answer, self.source)
            for i, (time, prompt, answer) in enumerate(zip(times, prompts, answers, strict=True))
        ]


# The sources are called as Azure's files are, so that one set of class rules fits both.
CONVERSATION = Kind(
    "azure_2023_conv",
    Lengths(1000, 0.9, 8, 4100),
    Lengths(150, 0.8, 2, 1000),
    Gamma(rate=3.0, cv=1.1),
)
CODE = Kind(
    "azure_2023_code",
    Lengths(1450, 1.1, 8, 7400),
    Lengths(13, 1.2, 3, 500),
    Gamma(rate=2.0, cv=3.0),
)


def draw(kind: Kind, n: int, seed: int = 0) -> list[TraceRecord]:
    """Draw n requests of a kind; each kind and seed has a stream of its own."""
    stream = np.random.SeedSequence([seed, *kind.source.encode()])
    return kind.records(np.random.default_rng(stream), n)
