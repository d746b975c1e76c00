"""Keeps errors of ours out of the engine's loop (law 14), and counts the time that we take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from vllm.logger import init_logger

from slosched.vllm.metrics import EngineMetrics

log = init_logger("vllm.slosched.shield")  # under vLLM's own logger, or nobody would see it


class Shield:
    """Counts what goes wrong, logs the first of each kind with its traceback, and goes on.

    Attributes
    ----------
    failures
        Errors that were caught.
    """

    def __init__(self, metrics: EngineMetrics) -> None:
        self.failures = 0
        self._seconds = 0.0
        self._metrics = metrics
        self._logged: set[str] = set()
        self._inside = False

    @contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Guard a block; `doing` names it in the log."""
        outermost, self._inside = not self._inside, True
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine has to go on
            self.failures += 1
            self._metrics.plan_failures.inc()
            self.warn_once(doing, error)
        finally:
            if outermost:
                self._inside = False
                self._seconds += time.perf_counter() - started

    def take_seconds(self) -> float:
        """Return the seconds spent in guarded blocks that ended since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def warn_once(self, doing: str, error: Exception) -> None:
        """Log the first error of each kind."""
        if doing not in self._logged:
            self._logged.add(doing)
            log.warning(
                "slosched: %s failed, going on without it; logged once", doing, exc_info=error
            )
