"""Whether float values all lie on the grid of a half type: someone computed in it and widened the result.

>>> from parity.distance.tensor import Tensor
>>> on_half_grid(Tensor(np.array([0.5, 0.1], np.float16).astype(np.float32), "float32"))
True
>>> on_half_grid(Tensor(np.array([0.5, 0.1], np.float32), "float32"))
False
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["WORDS", "on_half_grid", "on_half_grid_many"]

WORDS: Final[dict[str, Any]] = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64}
"""The types that have a narrower half type, and the integers of their width."""

_LOW: Final = {"float16": np.uint16(0x7), "float32": np.uint32(0x1FFF), "float64": np.uint64((1 << 42) - 1)}
_HALF_EXPONENT: Final = np.uint16(0x7C00)
_SAMPLE: Final = 256
_STRETCH: Final = 1 << 16


def on_half_grid(tensor: Tensor) -> bool:
    """Tell whether every value has no more mantissa bits than a narrower half type: float16, or for float16 bfloat16.

    A first look at a few elements settles most tensors. No tensor of a type that has no narrower one does.
    """
    flat = np.ascontiguousarray(tensor.array).reshape(-1)
    edges = [0, *range(_SAMPLE, flat.size, _STRETCH), flat.size]
    return not any(_off_grid(flat[start:end], tensor.dtype).any() for start, end in pairwise(edges))


def on_half_grid_many(layout: Layout, tensors: Tensor) -> list[bool]:
    """Tell the same of every tensor of those that lie end to end."""
    some_off = np.logical_or.reduceat(_off_grid(tensors.array, tensors.dtype), layout.starts)
    found: list[bool] = (~some_off).tolist()
    return found


def _off_grid(values: Array, name: str) -> Array:
    """Tell of each value whether it has more bits; float16's denormals have none to spare and do not count."""
    if name not in WORDS:
        return np.ones(values.shape, np.bool_)
    words = values.view(WORDS[name])
    some: Array = (words & _LOW[name]) != 0
    if name == "float16":
        some &= (words & _HALF_EXPONENT) != 0
    return some
