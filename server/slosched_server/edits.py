"""Edits made here, on their way to the engine's own process: a small file that it watches."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

VARIABLE = "SLOSCHED_EDITS"


class EditsFile:
    """Holds the values that were changed while the front end serves, for the engine.

    Parameters
    ----------
    path
        Where; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def environment(self) -> dict[str, str]:
        """What tells the engine where they are."""
        return {VARIABLE: str(self.path)}

    def write(self, edits: Sequence[str]) -> None:
        """Put these in place of those before; whoever reads finds the old ones or the new ones."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(list(edits)), encoding="utf-8")
        fresh.replace(self.path)


@contextmanager
def edits_file() -> Iterator[EditsFile]:
    """Make a place for edits that nobody else can read, as long as it is needed."""
    with TemporaryDirectory(prefix="slosched-", ignore_cleanup_errors=True) as folder:
        yield EditsFile(Path(folder) / "edits.json")
