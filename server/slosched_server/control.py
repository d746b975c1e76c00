"""Changes while requests are served: the configuration's file is edited, or somebody edits here."""

from collections.abc import Sequence
from pathlib import Path

import structlog
from watchfiles import awatch

from slosched.core.errors import SloschedError
from slosched_server.rules import RulesInForce, RulesSource

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

    def edit(self, edits: Sequence[str]) -> None:
        """Change some values, in place of those that were changed before.

        Raises
        ------
        SloschedError
            If the configuration does not fit then; nothing has changed.
        """
        rules = self.source.read(edits)
        self.edits = tuple(edits)
        self.in_force.replace(rules)
        log.info("configuration edited", edits=list(edits))

    def reload(self) -> bool:
        """Read the files anew; False if they do not fit, and what was in force still is."""
        try:
            self.in_force.replace(self.source.read(self.edits))
        except SloschedError as error:
            log.warning("configuration not reloaded, the old one stays", reason=str(error))
            return False
        log.info("configuration reloaded")
        return True

    async def watch(self) -> None:
        """Reload whenever a file changes, until cancelled."""
        files = [path.resolve() for path in self.source.files]
        # Editors write another file and move it into place: the folder sees that, the file not.
        async for changes in awatch(*{path.parent for path in files}):
            if any(Path(name) in files for _, name in changes):
                self.reload()
