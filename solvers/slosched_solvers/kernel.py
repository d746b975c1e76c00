"""How the kernels are compiled: without the interpreter's lock, and kept for the next start."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit


def has_place(folder: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether numba finds a place for what it compiles of files in a folder.

    Where it is to keep a result and finds none, it refuses to compile at all.
    """
    if named := environ.get("NUMBA_CACHE_DIR"):
        with suppress(OSError):
            Path(named).mkdir(parents=True, exist_ok=True)
        return os.access(named, os.W_OK)
    beside = folder / "__pycache__"
    places = (beside if beside.exists() else folder, os.path.expanduser("~"))  # noqa: PTH111 - it may not be known
    return any(os.access(place, os.W_OK) for place in places)


_KEPT = has_place(Path(__file__).parent)


def kernel(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no type
    """Compile a function when it is first called."""
    return njit(nogil=True, cache=_KEPT, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - same
    """Compile a function into those that call it."""
    return njit(nogil=True, inline="always", error_model="numpy")(function)
