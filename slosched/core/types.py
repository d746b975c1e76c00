"""Names for the arrays that pass between the parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
LiveArray = NDArray[Any]
LiveRow = np.void  # one row of a LiveArray
