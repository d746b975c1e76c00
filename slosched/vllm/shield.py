"""Keeps errors of ours out of the engine's loop (law 14)."""

from collections.abc import Iterator
from contextlib import contextmanager

from vllm.logger import init_logger

from slosched.vllm.metrics import EngineMetrics

log = init_logger("vllm.slosched.shield")  # under vLLM's own logger, or nobody would see it


class Shield:
    """Counts what goes wrong, logs the first of each kind with its traceback, and goes on."""

    def __init__(self, metrics: EngineMetrics) -> None:
        self.failures = 0
        self._metrics = metrics
        self._logged: set[str] = set()

    @contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Guard a block; `doing` names it in the log."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine has to go on
            self.failures += 1
            self._metrics.plan_failures.inc()
            self.warn_once(doing, error)

    def warn_once(self, doing: str, error: Exception) -> None:
        """Log the first error of each kind."""
        if doing not in self._logged:
            self._logged.add(doing)
            log.warning(
                "slosched: %s failed, going on without it; logged once", doing, exc_info=error
            )
