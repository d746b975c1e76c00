"""Keeps errors of ours out of the engine's loop (law 14), and counts the time that we take."""

import time
from typing import Self

from vllm.logger import init_logger

from slosched.vllm.metrics import EngineMetrics

log = init_logger("vllm.slosched.shield")  # under vLLM's own logger, or nobody would see it


class Shield:
    """Counts what goes wrong, logs the first of each kind with its traceback, and goes on.

    A block is guarded by `with shield("doing this"):`.

    Attributes
    ----------
    failures
        Errors that were caught.
    """

    def __init__(self, metrics: EngineMetrics) -> None:
        self.failures = 0
        self._seconds = 0.0
        self._since = 0.0
        self._metrics = metrics
        self._logged: set[str] = set()
        self._doing: list[str] = []  # the guarded blocks that have begun, one inside the other

    def __call__(self, doing: str) -> Self:
        """Guard the block that follows; `doing` names it in the log."""
        self._doing.append(doing)
        return self

    def __enter__(self) -> None:
        if len(self._doing) == 1:
            self._since = time.perf_counter()

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: object
    ) -> bool:
        doing = self._doing.pop()
        if not self._doing:
            self._seconds += time.perf_counter() - self._since
        if not isinstance(error, Exception):
            return False
        self.failures += 1
        self._metrics.plan_failures.inc()
        self.warn_once(doing, error)
        return True

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
