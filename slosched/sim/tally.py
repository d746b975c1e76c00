"""A run in numbers whose memory does not grow with the trace."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from slosched.sim.engine import Ended, SimulatedEngine
from slosched.sim.histogram import Histogram

_TIMES = ("ttft", "tpot", "e2el")


@dataclass(slots=True)
class Group:
    """What came of some requests.

    Parameters
    ----------
    requests, completed, attained
        How many there were, came to an end, and kept all their limits.
    weight, attained_weight
        What all of them were worth, and those that kept their limits.
    prompt_tokens, tokens
        Input and output tokens of those that came to an end.
    times
        Spreads of their times, by the names that `vllm bench serve` uses.
    """

    requests: int = 0
    completed: int = 0
    attained: int = 0
    weight: float = 0.0
    attained_weight: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0
    times: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram() for name in _TIMES}
    )

    def add(self, ended: Ended) -> None:
        """Take note of a request that the engine is done with."""
        request = ended.traced.request
        self.requests += 1
        self.weight += request.slo.weight
        if isnan(ended.finish):
            return
        ttft, e2e = ended.first_token - request.arrival, ended.finish - request.arrival
        tpot = (ended.finish - ended.first_token) / max(ended.output_tokens - 1, 1)
        self.completed += 1
        self.prompt_tokens += request.input_tokens
        self.tokens += ended.output_tokens
        if request.slo.attained(ttft, tpot, e2e):
            self.attained += 1
            self.attained_weight += request.slo.weight
        for name, seconds in zip(_TIMES, (ttft, tpot, e2e), strict=True):
            self.times[name].add(seconds)

    def summary(self) -> dict[str, float | None]:
        """Return the spreads of the times, in ms."""
        return {k: v for name in _TIMES for k, v in self.times[name].spread(name).items()}


class Tally:
    """Sums up requests as they end, under the same names as `summarize`.

    Means are exact, percentiles within 0.25%.
    """

    def __init__(self) -> None:
        self._all = Group()
        self._by_class: dict[str, Group] = defaultdict(Group)
        self._began = self._finished = 0.0

    def add(self, ended: Ended) -> None:
        """Take note of a request that the engine is done with."""
        if not self._all.requests:
            self._began = self._finished = ended.traced.request.arrival
        self._began = min(self._began, ended.traced.request.arrival)
        self._finished = max(self._finished, 0.0 if isnan(ended.finish) else ended.finish)
        self._all.add(ended)
        self._by_class[ended.traced.request.slo_class].add(ended)

    def summary(self, engine: SimulatedEngine) -> dict[str, Any]:
        """Return all in numbers, with what the engine counted."""
        everybody, seconds = self._all, self._finished - self._began
        per_second = 1 / (seconds or 1.0)
        return {
            "duration": seconds,
            "completed": everybody.completed,
            "failed": everybody.requests - everybody.completed,
            "total_input_tokens": everybody.prompt_tokens,
            "total_output_tokens": everybody.tokens,
            "request_throughput": everybody.completed * per_second,
            "request_goodput": everybody.attained * per_second,
            "output_throughput": everybody.tokens * per_second,
            "total_token_throughput": (everybody.prompt_tokens + everybody.tokens) * per_second,
            **everybody.summary(),
            **engine.gaps.spread("itl"),
            "slo_attainment": everybody.attained / max(everybody.requests, 1),
            "weighted_attainment": everybody.attained_weight / (everybody.weight or 1.0),
            "per_class": {
                name: {
                    "requests": group.requests,
                    "slo_attainment": group.attained / group.requests,
                    **group.summary(),
                }
                for name, group in sorted(self._by_class.items())
            },
            **engine.counts(),
        }
