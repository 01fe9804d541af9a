"""A tensor with its true type beside it: numpy has no bfloat16, so the array's own type does not tell."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

__all__ = ["Array", "Tensor"]

Array: TypeAlias = NDArray[Any]


class Tensor(NamedTuple):
    """Elements in storage form (bfloat16 as uint16) and the name of their type."""

    array: Array
    dtype: str
