"""Keeps a simulated engine going by a real clock, in the event loop of its server."""

import asyncio
import time
from collections.abc import Callable
from math import inf

from slosched.core.request import TracedRequest
from slosched.sim.online import OnlineEngine, Said

Listener = Callable[[Said], None]


class Clock:
    """The engine's time: seconds since it was made, so many times as fast as real ones.

    Parameters
    ----------
    speed
        Of the engine, greater than 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> float:
        """Return the engine's time, s."""
        return (time.monotonic() - self._began) * self.speed


class Driver:
    """Does the engine's steps when they are due, and tells who listens what came out.

    Parameters
    ----------
    engine
        What it drives.
    clock
        By which.
    """

    def __init__(self, engine: OnlineEngine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self._listeners: dict[int, Listener] = {}
        self._due: asyncio.TimerHandle | None = None
        self._stopped = False

    def submit(self, traced: TracedRequest, listener: Listener) -> int | None:
        """Let a request wait, and return its number; None if the engine can never serve it."""
        number = self._engine.submit(traced, self._clock.now())
        if number is not None:
            self._listeners[number] = listener
            if self._due is None:
                self._tick()
        return number

    def abort(self, number: int) -> None:
        """Forget a request that nobody waits for any more."""
        self._listeners.pop(number, None)
        self._engine.abort(number)

    def stop(self) -> None:
        """Do nothing from now on, as an engine that hangs."""
        self._stopped = True
        if self._due:
            self._due.cancel()

    def go_on(self) -> None:
        """Take up the work again."""
        self._stopped = False
        self._tick()

    def _tick(self) -> None:
        if self._stopped:
            return
        now = self._clock.now()
        for said in self._engine.advance(now):
            self._tell(said)
        seconds = (self._engine.next_at - now) / self._clock.speed
        self._due = None
        if seconds < inf:
            self._due = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tell(self, said: Said) -> None:
        listener = self._listeners.get(said.number)
        if listener is None:
            return
        if said.over:
            del self._listeners[said.number]
        listener(said)
