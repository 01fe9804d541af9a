"""A tensor with its true type beside it: numpy has no bfloat16, so the array's own type does not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Array", "Tensor", "end_to_end"]

Array: TypeAlias = NDArray[Any]


class Tensor(NamedTuple):
    """Elements in storage form (bfloat16 as uint16) and the name of their type."""

    array: Array
    dtype: str


def end_to_end(tensors: Iterable[Tensor]) -> Array:
    """Return the elements of tensors of one type in one flat array."""
    return np.concatenate([array if array.ndim == 1 else array.reshape(-1) for array, _ in tensors])
