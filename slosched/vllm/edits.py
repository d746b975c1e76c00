"""Edits of the configuration, noticed beside the engine and never inside of its steps."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Generic, TypeVar

from slosched.core.stamps import stamps

# Under vLLM's own logger, or nobody would see it; without an import of vLLM, as is the middleware.
log = logging.getLogger("vllm.slosched.edits")

T = TypeVar("T")

_EVERY_S = 1.0


class Edits(Generic[T]):
    """Builds anew, in a thread of its own, whenever a file has changed; to be closed.

    What was in force when this was made is known already, so that is to be read afterwards.

    Parameters
    ----------
    files
        What is looked at; there is no thread without any.
    build
        Reads them and makes what is to be in force then; whatever it raises is told, in one line,
        and changes nothing.
    told
        Called with "applied" or "rejected", in the thread.
    every_s
        Seconds between two looks, 1 by default.
    """

    def __init__(
        self,
        files: Sequence[Path],
        build: Callable[[], T],
        told: Callable[[str], None] = lambda _: None,
        every_s: float | None = None,
    ) -> None:
        self._files, self._build, self._told = files, build, told
        self._known = stamps(files)
        self._every_s = _EVERY_S if every_s is None else every_s
        self._made: T | None = None
        self._end = Event()
        self._thread = Thread(target=self._look, name="slosched-edits", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        if self._files:
            self._thread.start()

    def take(self) -> T | None:
        """Return what the newest edit came to, once; None if there is nothing new."""
        made, self._made = self._made, None
        return made

    def close(self) -> None:
        """Look no more; what is being built is not waited for."""
        self._end.set()

    def _look(self) -> None:
        while not self._end.wait(self._every_s):
            found = stamps(self._files)
            if found != self._known:
                self._known = found
                self._rebuild()

    def _rebuild(self) -> None:
        try:
            self._made = self._build()
        except (Exception, SystemExit) as error:
            reason = "; ".join(str(error).splitlines()) or type(error).__name__
            log.warning("slosched: configuration not reloaded, the old one stays: %s", reason)
            self._told("rejected")
        else:
            log.info("slosched: configuration reloaded")
            self._told("applied")
