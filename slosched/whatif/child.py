"""What happens in a process that simulates for another one."""

import os
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_ticks: Any = None  # the counter that all processes share; set once, when this one begins


class Steps:
    """Turns `so much is done` into `so much more is done`."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick = tick
        self._done = 0

    def __call__(self, done: int) -> None:
        """Take note that so much is done in all."""
        self._tick(done - self._done)
        self._done = done


def begin(ticks: Any) -> None:  # noqa: ANN401 - a shared value, whose type has no public name
    """Prepare the process: it counts on `ticks`, and ends with its parent."""
    global _ticks  # noqa: PLW0603 - handed over once a process, as it cannot travel with tasks
    _ticks = ticks
    threading.Thread(target=_end_with_parent, daemon=True).start()


def call(function: Callable[[T, Callable[[int], None]], R], task: T) -> R:
    """Do a task, and count what is done of it."""
    return function(task, Steps(_count))


def _count(more: int) -> None:
    with _ticks.get_lock():
        _ticks.value += more


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
