"""A tensor with its true type beside it: numpy has no bfloat16, so the array's own type does not tell.

Many small tensors of one type lie end to end in one flat `Tensor`, and a `Layout` says where each is:

    >>> layout = Layout.of([(2,), (1, 3)])
    >>> layout.cut(Tensor(np.arange(5.0), "float64"), 1).array
    array([[2., 3., 4.]])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Layout", "Tensor", "Watch", "present"]

Array: TypeAlias = NDArray[Any]

Watch: TypeAlias = Sequence[Callable[[Array], None]]
"""One for each array: it hears the next stretch, once that is read and before it is worked on, while it is in the cache."""


class Tensor(NamedTuple):
    """Elements in storage form (bfloat16 as uint16) and the name of their type."""

    array: Array
    dtype: str


def present(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """Return the tensors of a pair that are there: two, or three with the reference's in its working type."""
    return tuple(tensor for tensor in tensors if tensor is not None)


class Layout(NamedTuple):
    """Tensors that lie end to end: their shapes, how many elements each has, and where it begins."""

    shapes: Sequence[tuple[int, ...]]
    sizes: Array
    starts: Array

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]]) -> Layout:
        """Lay tensors of these shapes end to end."""
        sizes = np.array([math.prod(shape) for shape in shapes], np.intp)
        return cls(shapes, sizes, np.cumsum(sizes) - sizes)

    def cut(self, laid: Tensor, number: int) -> Tensor:
        """Return one of the tensors, a view."""
        start = self.starts[number]
        return Tensor(laid.array[start : start + self.sizes[number]].reshape(self.shapes[number]), laid.dtype)
