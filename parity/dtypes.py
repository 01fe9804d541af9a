"""Names of tensor types, the same in every framework, and their numpy form.

numpy has no bfloat16, so an array of it travels as uint16 beside the name `"bfloat16"`:

    >>> import numpy as np
    >>> widen(np.array([0x3F80], dtype=np.uint16), "bfloat16")
    array([1.])
    >>> narrow(np.array([1.0, 3.0]), "bfloat16")
    array([16256, 16448], dtype=uint16)
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

__all__ = ["FLOATS", "FloatName", "TypeName", "bits", "eps", "is_coarser", "is_float", "narrow", "storage", "widen"]

FloatName = Literal["float64", "float32", "float16", "bfloat16"]
TypeName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip

FLOATS: tuple[str, ...] = get_args(FloatName)
_MANTISSA_BITS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}


def is_float(name: str) -> bool:
    """Tell whether `name` is a real floating type."""
    return name in _MANTISSA_BITS


def bits(name: str) -> int:
    """Return the mantissa bits of a floating type; a larger number is a finer type."""
    return _MANTISSA_BITS[name]


def is_coarser(name: str, than: str) -> bool:
    """Tell whether a floating type has fewer mantissa bits than another one; a type of integers is never either."""
    return _MANTISSA_BITS.get(name, math.inf) < _MANTISSA_BITS.get(than, 0)


def eps(name: str) -> float:
    """Return the spacing of the floating type at 1."""
    return 2.0 ** -_MANTISSA_BITS[name]


@lru_cache(maxsize=64)
def storage(name: str) -> np.dtype[np.generic]:
    """Return the little-endian numpy type in which `name` is stored; bfloat16 is stored as uint16."""
    if name not in get_args(TypeName):
        message = f"{name!r} is not a tensor type; one of {', '.join(get_args(TypeName))}"
        raise ValueError(message)
    return np.dtype("uint16" if name == "bfloat16" else name).newbyteorder("<")


def widen(array: np.ndarray, name: str, to: str = "float64") -> np.ndarray:
    """Return `array`, whose true type is `name`, as a float64 (or `to`) array; exact."""
    if name == "bfloat16":
        words = np.asarray(array).astype(np.uint32)
        np.left_shift(words, np.uint32(16), out=words)
        array = words.view(np.float32)
    return np.asarray(array).astype(to, copy=False)


def narrow(array: np.ndarray, name: str) -> np.ndarray:
    """Round `array` to the floating type `name` (to nearest, ties to even) in its storage form."""
    if name != "bfloat16":
        return np.asarray(array).astype(name, copy=False)
    single = np.atleast_1d(np.asarray(array, dtype=np.float32, order="C"))  # a numpy scalar would warn of overflow
    words = single.view(np.uint32)
    rounded = ((words + np.uint32(0x7FFF) + ((words >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(single), np.uint16(0x7FC0), rounded).reshape(np.shape(array))
