"""Some engines in virtual time, each of which is looked at only when something comes of it."""

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from math import inf

from slosched.core.request import TracedRequest
from slosched.sim.engine import SimulatedEngine
from slosched.sim.online import OnlineEngine, Said


class Engines:
    """Engines by name, and when each has something to say.

    Parameters
    ----------
    engines
        Fresh.
    """

    def __init__(self, engines: Mapping[str, SimulatedEngine]) -> None:
        self.simulated = engines
        self._engines = {name: OnlineEngine(engine) for name, engine in engines.items()}
        self._due = dict.fromkeys(engines, inf)
        self._heap: list[tuple[float, str]] = []  # what is not as `_due` has it is outdated
        self._of: dict[tuple[str, int], TracedRequest] = {}

    @property
    def next_at(self) -> float:
        """When the next one has something to say, s; inf if none has."""
        while self._heap and self._due[self._heap[0][1]] != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else inf

    def send(self, name: str, traced: TracedRequest, now: float) -> bool:
        """Give an engine a request; False if it can never serve it."""
        engine = self._engines[name]
        number = engine.submit(traced, now)
        if number is None:
            return False
        self._of[name, number] = traced
        self._look_at(name, now)
        return True

    def advance(self, now: float) -> Iterator[tuple[TracedRequest, Said]]:
        """Say what came out by now, engine by engine."""
        while self.next_at <= now:
            name = heappop(self._heap)[1]
            self._due[name] = inf
            for said in self._engines[name].advance(now):
                traced = self._of[name, said.number]
                if said.over:
                    del self._of[name, said.number]
                yield traced, said
            self._look_at(name, now)

    def _look_at(self, name: str, now: float) -> None:
        """Note when to look at an engine again."""
        at = max(self._engines[name].next_at, now)
        if at < inf and at != self._due[name]:
            heappush(self._heap, (at, name))
        self._due[name] = at
