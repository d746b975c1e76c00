"""Changes while requests are served: the configuration's file is edited, or somebody edits here."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog
from watchfiles import awatch

from slosched.core.errors import SloschedError
from slosched_server.rules import Rules, RulesInForce, RulesSource

log = structlog.get_logger()


class Control:
    """Puts new rules in force; what does not fit changes nothing.

    Parameters
    ----------
    source
        Where rules come from.

    Attributes
    ----------
    in_force
        The newest rules.
    edits
        Values that were changed here, on top of the files, until the process ends.
    """

    def __init__(self, source: RulesSource) -> None:
        self.source = source
        self.in_force = RulesInForce(source.read())
        self.edits: Sequence[str] = ()
        self._watched: Sequence[Path] = ()
        self._others = asyncio.Event()

    def edit(self, edits: Sequence[str]) -> None:
        """Change some values, in place of those that were changed before.

        Raises
        ------
        SloschedError
            If the configuration does not fit then; nothing has changed.
        """
        rules = self.source.read(edits)
        self.edits = tuple(edits)
        self._put_in_force(rules)
        log.info("configuration edited", edits=list(edits))

    def reload(self) -> bool:
        """Read the files anew; False if they do not fit, and what was in force still is."""
        try:
            self._put_in_force(self.source.read(self.edits))
        except SloschedError as error:
            log.warning("configuration not reloaded, the old one stays", reason=str(error))
            return False
        log.info("configuration reloaded")
        return True

    async def watch(self) -> None:
        """Reload whenever a file changes, or others are to be watched, until cancelled."""
        while True:
            self._watched = list(self.source.files)
            self._others = asyncio.Event()
            seen = self._stamps()
            # Editors move another file into place, and mounted secrets a whole folder: what holds
            # the file sees that, the file does not.
            folders = {at.parent for file in self._watched for at in (file, file.resolve())}
            async for _ in awatch(*folders, recursive=False, stop_event=self._others):
                if (now := self._stamps()) != seen:
                    seen = now
                    self.reload()

    def _put_in_force(self, rules: Rules) -> None:
        self.in_force.replace(rules)
        if list(self.source.files) != self._watched:
            self._others.set()

    def _stamps(self) -> Sequence[tuple[int, int] | None]:
        return [_stamp(file) for file in self._watched]


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return by what a change of a file is known; None for one that is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns
