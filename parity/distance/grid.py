"""Whether float values all lie on the grid of a half type: someone computed in it and widened the result.

>>> from parity.distance.tensor import Tensor
>>> on_half_grid(Tensor(np.array([0.5, 0.1], np.float16).astype(np.float32), "float32"))
True
>>> on_half_grid(Tensor(np.array([0.5, 0.1], np.float32), "float32"))
False
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["WORDS", "off_grid", "on_half_grid"]

WORDS: Final[dict[str, Any]] = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64}
"""The types that have a narrower half type, and the integers of their width."""

_LOW: Final = {"float16": np.uint16(0x7), "float32": np.uint32(0x1FFF), "float64": np.uint64((1 << 42) - 1)}
_HALF_EXPONENT: Final = np.uint16(0x7C00)
_SAMPLE: Final = 256
_STRETCH: Final = 1 << 16


def on_half_grid(tensor: Tensor) -> bool:
    """Tell whether every value has no more mantissa bits than a narrower half type: float16, or for float16 bfloat16.

    A first look at a few elements settles most tensors.
    """
    flat = np.ascontiguousarray(tensor.array).reshape(-1)
    starts = (0, *range(_SAMPLE, flat.size, _STRETCH))
    ends = (min(_SAMPLE, flat.size), *(min(start + _STRETCH, flat.size) for start in starts[1:]))
    return not any(off_grid(flat[start:end], tensor.dtype).any() for start, end in zip(starts, ends, strict=True))


def off_grid(values: Array, name: str) -> Array:
    """Tell of each value whether it has more bits; float16's denormals have none to spare and do not count."""
    words = values.view(WORDS[name])
    some: Array = (words & _LOW[name]) != 0
    return some & ((words & _HALF_EXPONENT) != 0) if name == "float16" else some
