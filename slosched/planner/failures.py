"""What went wrong and was survived (law 14)."""

import structlog

log = structlog.get_logger(__name__)


class Failures:
    """Counts failures, and logs the first of each kind.

    Attributes
    ----------
    count
        Of all kinds.
    """

    def __init__(self) -> None:
        self.count = 0
        self._told: set[str] = set()

    def note(self, event: str, part: object, error: BaseException | None) -> None:
        """Count one, and log it unless its like was logged before: it may happen every step."""
        self.count += 1
        if event not in self._told:
            self._told.add(event)
            log.warning(event, part=type(part).__name__, error=str(error), exc_info=error)
