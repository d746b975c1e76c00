"""Whether files are still as they were."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """Return what changes with a file's content; None where there is no such file.

    Links are followed: the content is what matters, and where it lies may change with it.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def stamps(paths: Iterable[Path]) -> list[Stamp]:
    """Return that of each."""
    return [stamp(path) for path in paths]
