"""Names for numpy's types, and numbers beside tensors; imports no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mindspore import Tensor

__all__ = ["Array", "DTypeLike", "Number", "scalar_like"]

Array = npt.NDArray[Any]
DTypeLike = np.dtype[Any] | type[np.floating[Any]]
Number = float | np.floating[Any]


def scalar_like(value: Number, tensor: Tensor) -> Tensor:
    """A 0-d tensor with exactly this value in the type of another, made by that one's own class.

    A Python number beside a tensor would be rounded to float32, even if the tensor is float64.
    """
    return type(tensor)(np.array(value), tensor.dtype)
