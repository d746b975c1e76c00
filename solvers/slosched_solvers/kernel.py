"""How the kernels are compiled: without the interpreter's lock, and kept for the next start."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_FOLDER = Path(__file__).parent / "__pycache__"
# numba refuses to compile at all where it is to keep a result and finds no place for it.
_KEPT = os.access(_FOLDER if _FOLDER.exists() else _FOLDER.parent, os.W_OK) or os.access(
    Path.home(), os.W_OK
)


def kernel(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - numba's dispatcher has no type
    """Compile a function when it is first called."""
    return njit(nogil=True, cache=_KEPT, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - same
    """Compile a function into those that call it."""
    return njit(nogil=True, inline="always", error_model="numpy")(function)
