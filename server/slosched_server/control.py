"""Changes while requests are served: the configuration's file is edited, or somebody edits here."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import structlog
from watchfiles import awatch

from slosched.core.errors import SloschedError
from slosched.core.stamps import stamp
from slosched_server.layers import Layer, fitting
from slosched_server.rules import Rules, RulesInForce, RulesSource

log = structlog.get_logger()

# Whatever is not told: what changed before the folder was watched, or on another machine's disk.
_LOOK_EVERY_MS = 1000


class Control:
    """Puts new rules in force; what does not fit changes nothing.

    Parameters
    ----------
    source
        Where rules come from.
    tell
        Called with the edits whenever there are others, before they are in force: the engine has
        its own rules.

    Attributes
    ----------
    in_force
        The newest rules.
    edits
        Values that were changed here, on top of the files and of what lies over these, until the
        process ends.
    reloads
        How often the files were read anew: applied, or refused as they did not fit.
    """

    def __init__(
        self, source: RulesSource, tell: Callable[[Sequence[str]], None] | None = None
    ) -> None:
        self.source = source
        self._tell = tell
        self.edits: Sequence[str] = ()
        self._layer: Layer | None = None
        self._under: Sequence[str] = ()  # what the layer says, as it was read last
        self.reloads: Counter[str] = Counter(applied=0, refused=0)
        self._seen: Mapping[Path, object] = {}
        self.in_force = RulesInForce(self._read(self.edits))

    def edit(self, edits: Sequence[str]) -> None:
        """Change some values, in place of those that were changed before.

        Raises
        ------
        SloschedError
            If the configuration does not fit then; nothing has changed.
        """
        rules = self._read(edits)
        if self._tell is not None:
            self._tell([*self._under, *edits])
        self.edits = tuple(edits)
        self.in_force.replace(rules)
        log.info("configuration edited", edits=list(edits))

    def reload(self) -> bool:
        """Read the files anew; False if they do not fit, and what was in force still is."""
        applied = self._renew()
        self.reloads["applied" if applied else "refused"] += 1
        if applied:
            log.info("configuration reloaded")
        return applied

    def lay(self, layer: Layer) -> bool:
        """Put what objects say over the files, and under edits; again whenever they say more.

        What they say is read anew with the files, too. False if it does not fit with what was
        edited here: then what was in force still is.
        """
        self._layer = layer
        return self._renew()

    async def watch(self) -> None:
        """Reload whenever a file changes, until cancelled."""
        while True:
            files = self.source.files
            # Editors move another file into place, and mounted secrets a whole folder: what holds
            # the file sees that, the file does not.
            folders = {at.parent for file in files for at in (file, file.resolve())}
            looks = awatch(
                *folders, recursive=False, rust_timeout=_LOOK_EVERY_MS, yield_on_timeout=True
            )
            async with aclosing(looks):
                async for _ in looks:
                    if self._stamps() != self._seen:
                        self.reload()
                    if self.source.files != files:
                        break

    def _renew(self) -> bool:
        """Read all anew, and put it in force if it fits."""
        under = self._under
        try:
            rules = self._read(self.edits)
            if self._tell is not None and self._under != under:
                self._tell([*self._under, *self.edits])
        except SloschedError as error:
            log.warning("configuration not reloaded, the old one stays", reason=str(error))
            return False
        self.in_force.replace(rules)
        return True

    def _read(self, edits: Sequence[str]) -> Rules:
        before = self._stamps()
        try:
            if self._layer is not None:
                self._under = fitting(self.source, self._layer)
            return self.source.read([*self._under, *edits])
        finally:
            # What changes while it is read is read again.
            self._seen = {file: before.get(file, at) for file, at in self._stamps().items()}

    def _stamps(self) -> Mapping[Path, object]:
        return {file: stamp(file) for file in self.source.files}
