"""Arrays in, order out: the rollout of an order through the engine, and searches over orders."""

import os
from contextlib import suppress
from pathlib import Path


def _drop_stale_kernels() -> None:
    """Delete compiled kernels that are older than any source of theirs.

    numba looks at the file of a kernel alone, and would go on using one whose inlined parts, in
    other files, have changed.
    """
    folder = Path(__file__).parent
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    kept = Path(os.environ.get("NUMBA_CACHE_DIR") or folder / "__pycache__")
    for source in folder.glob("*.py"):
        for compiled in kept.rglob(f"{source.stem}.*.nb[ci]"):
            if compiled.stat().st_mtime < newest:
                compiled.unlink()


with suppress(OSError):  # read-only, or another process was faster
    _drop_stale_kernels()
