"""Simulations side by side, in processes of their own."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any, Self, TypeVar

from slosched.core.errors import EngineError
from slosched.whatif import child

T = TypeVar("T")
R = TypeVar("R")
Tick = Callable[[int], None]
POLL_S = 0.2  # between two looks at how far the processes are


def _nothing(_: int) -> None:
    pass


class Workers:
    """Calls functions on tasks, in so many processes, or in this one.

    Entered as a context; left by an error or by Ctrl-C, it ends its processes at once.

    Parameters
    ----------
    jobs
        Processes at most; with 1 there is none but the caller's own.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        # Spawned: numba's threads and locks do not survive a fork.
        self._context = get_context("spawn")
        self._ticks = self._context.Value("q", 0)
        self._others = set(active_children())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.stop()
        elif self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def stop(self) -> None:
        """End what is being done, and the processes; others begin with the next task."""
        if self._pool is None:
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - self._others:
            process.terminate()
        self._pool = None

    def as_done(
        self, function: Callable[[T, Tick], R], tasks: Sequence[T], tick: Tick = _nothing
    ) -> Iterator[tuple[int, R]]:
        """Yield (index of the task, what the function answers), in the order in which they end.

        Parameters
        ----------
        function
            At the top of a module, without state; takes a task, and a function that it may tell
            how much of it is done, in units of its own.
        tick
            Told now and then how many units were done since it was last told.

        Raises
        ------
        EngineError
            If a process died.
        """
        if self.jobs == 1 or len(tasks) <= 1:
            for i, task in enumerate(tasks):
                yield i, function(task, child.Steps(tick))
            return
        try:
            yield from self._in_processes(function, tasks, tick)
        except BrokenProcessPool:
            raise EngineError(
                f"one of {self.jobs} processes died, for want of memory perhaps: try fewer --jobs"
            ) from None

    def all(
        self, function: Callable[[T, Tick], R], tasks: Sequence[T], tick: Tick = _nothing
    ) -> list[R]:
        """Return what `as_done` yields, in the order of the tasks."""
        done = dict(self.as_done(function, tasks, tick))
        return [done[i] for i in range(len(tasks))]

    def _in_processes(
        self, function: Callable[[T, Tick], R], tasks: Sequence[T], tick: Tick
    ) -> Iterator[tuple[int, R]]:
        told = self._ticks.value
        with _interrupts_ignored():  # which children inherit: Ctrl-C is for us, who end them
            index = {self._submit(function, task): i for i, task in enumerate(tasks)}
        waiting = set(index)
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            so_far = self._ticks.value
            tick(so_far - told)
            told = so_far
            for future in sorted(done, key=index.__getitem__):
                yield index[future], future.result()

    def _submit(self, function: Callable[[T, Tick], R], task: T) -> Future[Any]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.jobs, self._context, initializer=child.begin, initargs=(self._ticks,)
            )
        return self._pool.submit(child.call, function, task)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so, and only it is interrupted
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
