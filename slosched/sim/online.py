"""A simulated engine whose clock somebody else keeps: requests come and go as they like."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from slosched.core.request import TracedRequest
from slosched.sim.engine import SimulatedEngine


@dataclass(frozen=True, slots=True)
class Said:
    """What came out for a request.

    Parameters
    ----------
    number
        Of the request, as `OnlineEngine.submit` told.
    tokens
        Of its answer so far.
    at
        When the newest came out, s.
    over
        Whether it was the last.
    """

    number: int
    tokens: int
    at: float
    over: bool = False


class OnlineEngine:
    """Does what is due whenever it is asked, and not more.

    Parameters
    ----------
    engine
        Fresh.
    """

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._numbers = count()
        self._ids: dict[int, str] = {}
        self._heard: dict[int, int] = {}  # tokens of each request that were told

    @property
    def next_at(self) -> float:
        """When to ask again, s; inf if not before the next request."""
        return -1.0 if self._engine.may_step else self._engine.next_output

    def submit(self, traced: TracedRequest, now: float) -> int | None:
        """Let a request wait, and return its number; None if the engine can never serve it.

        Raises
        ------
        ValueError
            If its id is live already.
        """
        if not self._ids:
            self._engine.idle_until(now)
        number = next(self._numbers)
        if not self._engine.take_in(number, traced):
            return None
        self._ids[number] = traced.request.request_id
        self._heard[number] = 0
        return number

    def abort(self, number: int) -> None:
        """Forget a request that nobody waits for any more, if it is not over."""
        if number in self._ids:
            self._engine.abort(self._ids[number])
            self._forget(number)

    def advance(self, now: float) -> Iterator[Said]:
        """Do whatever begins by now, and say what came out, in order of time.

        Parameters
        ----------
        now
            Seconds; not before any time that was given.
        """
        engine = self._engine
        while True:
            if engine.may_step:
                engine.step()
            elif engine.next_output <= now:
                yield from self._outputs()
            else:
                return

    def _outputs(self) -> Iterator[Said]:
        for ended in self._engine.outputs(float("-inf")):
            self._forget(ended.index)
            yield Said(ended.index, ended.output_tokens, ended.finish, over=True)
        for number, tokens in self._engine.said():
            if tokens > self._heard[number]:
                self._heard[number] = tokens
                yield Said(number, tokens, self._engine.now)

    def _forget(self, number: int) -> None:
        del self._ids[number], self._heard[number]
