"""Names for numpy's types, which every module that handles arrays shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "DTypeLike", "Number"]

Array = npt.NDArray[Any]
DTypeLike = np.dtype[Any] | type[np.floating[Any]]
Number = float | np.floating[Any]
