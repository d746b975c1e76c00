"""What is wrong with objects of the cluster: said once, not each time that one is looked at."""

from collections.abc import Mapping

import structlog

log = structlog.get_logger()


class Complaints:
    """Logs what is wrong with objects of a kind, by name.

    Parameters
    ----------
    event
        What is logged.
    key
        What names are called there.
    """

    def __init__(self, event: str, key: str) -> None:
        self._event, self._key = event, key
        self._said: Mapping[str, str] = {}

    def say(self, wrong: Mapping[str, str]) -> None:
        """Log what was not wrong before, by name; all others are fine now."""
        for name, reason in wrong.items():
            if self._said.get(name) != reason:
                log.warning(self._event, **{self._key: name}, reason=reason)
        self._said = dict(wrong)
