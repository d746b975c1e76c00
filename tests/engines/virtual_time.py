"""An event loop whose clock jumps to the next thing that is due: tests in no time, exactly."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
CLOCKS = (
    "slosched.client.answer.monotonic",
    "slosched.client.connection.monotonic",
    "slosched.bench.replay.monotonic",
    "slosched.bench.lag.monotonic",
    "slosched.calibrate.live.monotonic",
)


class _Jumping(selectors.SelectSelector):
    """Waits for nobody: what would be waited for has passed already."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which nothing of this runs."""
        self._jumping.now += seconds


def run(monkeypatch: pytest.MonkeyPatch, story: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on such a loop, with all clocks of ours on it."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        clock = runner.get_loop().time
        for name in CLOCKS:
            monkeypatch.setattr(name, clock)
        return runner.run(story)
