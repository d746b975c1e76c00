"""The monotonic clock, for kernels: they look at it without the interpreter."""

import time

import numpy as np
from numba import types

from slosched_solvers.kernel import inlined

_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_MONOTONIC = time.CLOCK_MONOTONIC


@inlined
def monotonic() -> float:
    """Seconds on the clock of `time.monotonic`."""
    now = np.empty(2, dtype=np.int64)
    _gettime(_MONOTONIC, now.ctypes.data)
    return now[0] + 1e-9 * now[1]
