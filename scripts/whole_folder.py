"""Folders that are there as a whole, or not at all."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def make(
    usage: str | None, source: Callable[[], Path], convert: Callable[[Path, Path], None]
) -> None:
    """Convert into a folder beside the one that the program's argument names, and rename that.

    Parameters
    ----------
    source, convert
        Find what is converted; write what is made of it into a folder that exists.
    """
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(usage)
    out = Path(sys.argv[1]).resolve()
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    found = source()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        convert(found, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"wrote {out}")
