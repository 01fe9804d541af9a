"""Distances counted in representable numbers of a type.

>>> from parity.distance.tensor import Tensor
>>> one, other = (Tensor(np.array([x], np.float32), "float32") for x in (1.0, 1.0 + 2.0**-22))
>>> largest_ulps(one, other)
2.0
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.blocks import BLOCK64, blocks, load_pair, widest
from parity.distance.fast import NARROW, kernels_for, raw
from parity.dtypes import bits, narrow

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["has_ulps", "largest_ulps", "largest_ulps_many", "some_beyond_ulps"]

_CODE: Final = {"float64": np.int64, "float32": np.int32, "float16": np.int16, "bfloat16": np.int16}
_MAGNITUDE: Final = {"float64": 2**63 - 1, "float32": 2**31 - 1, "float16": 2**15 - 1, "bfloat16": 2**15 - 1}
_INFINITY: Final = {"float64": 0x7FF0 << 48, "float32": 0x7F80 << 16, "float16": 0x7C00, "bfloat16": 0x7F80}
_SIGN_SHIFT: Final = 63
_BLOCK: Final = 1 << 14
_APART: Final = 2**64 - 1
_NEARLY: Final = 1 - 1e-6  # differences of float32 are right to 6e-8 of themselves


def has_ulps(name: str) -> bool:
    """Tell whether numbers of this type can be counted."""
    return name in _CODE


def largest_ulps(expected: Tensor, candidate: Tensor, *, compiled: bool = False) -> float:
    """Return the largest distance in numbers of the candidate's type; infinite where one side is not finite."""
    name = candidate.dtype
    kernels = kernels_for(expected, candidate, compiled=compiled)
    largest = 0
    with np.errstate(all="ignore"):
        for x_block, c in blocks((expected.array, candidate.array), _BLOCK if kernels is None else BLOCK64):
            x = _rounded(x_block, expected.dtype, name)
            if kernels is None:
                steps = _steps(x, c, name)
            else:
                steps = int(kernels.ulps(_words(x, name), _words(c, name), _MAGNITUDE[name], _INFINITY[name]))
            if steps == _APART:
                return math.inf
            largest = max(largest, steps)
    return float(largest)


def largest_ulps_many(layout: Layout, expected: Tensor, candidate: Tensor) -> list[float]:
    """Return the same for every pair of tensors that lie end to end."""
    name = candidate.dtype
    with np.errstate(all="ignore"):
        first = _ordered(_rounded(expected.array, expected.dtype, name), name)
        second = _ordered(candidate.array, name)
        largest = np.maximum.reduceat(_apart(first, second), layout.starts).astype(np.float64)
        is_apart = np.logical_or.reduceat(_infinitely(first, second, name), layout.starts)
    found: list[float] = np.where(is_apart, math.inf, largest).tolist()
    return found


def _rounded(block: Array, name: str, to: str) -> Array:
    """Return a block of one type as another, in storage form."""
    return block if name == to else narrow(widest(block, name), to)


def _words(block: Array, name: str) -> Array:
    """Return a block as the compiled loops take words of its type."""
    return raw(block.view(_CODE[name]), "")


def _steps(x: Array, c: Array, name: str) -> int:
    """Return the largest distance between two blocks of one type in storage form; `_APART` if it is infinite."""
    first, second = _ordered(x, name), _ordered(c, name)
    has_infinities = max(int(np.abs(each).max()) for each in (first, second)) >= _INFINITY[name]
    if has_infinities and _infinitely(first, second, name).any():
        return _APART
    return int(_apart(first, second).max())


def _ordered(words: Array, name: str) -> Array:
    """Number the values of a type, in storage form, in order: 0 for zero, negative numbers below."""
    signed = words.view(_CODE[name]).astype(np.int64, copy=False)
    negative = signed >> _SIGN_SHIFT
    return (signed ^ (negative & _MAGNITUDE[name])) - negative


def _apart(first: Array, second: Array) -> Array:
    """Return how many numbers lie between those of two blocks, as uint64: of float64 there are more than int64 holds."""
    steps: Array = np.maximum(first, second).view(np.uint64) - np.minimum(first, second).view(np.uint64)
    return steps


def _infinitely(first: Array, second: Array, name: str) -> Array:
    """Tell where one number is not finite and the other is another."""
    infinitely: Array = (first != second) & (np.maximum(np.abs(first), np.abs(second)) >= _INFINITY[name])
    return infinitely


def some_beyond_ulps(
    expected: Tensor, candidate: Tensor, limit: float, output_type: str, allowed: float, *, compiled: bool = False
) -> bool:
    """Tell whether some element differs by more than `limit` and by more than `allowed` ulp of its own."""
    types = expected.dtype, candidate.dtype
    mantissa = bits(output_type)
    kernels = kernels_for(expected, candidate, compiled=compiled)
    suspect = np.float32(_NEARLY * limit) if NARROW.issuperset(types) else _NEARLY * limit
    with np.errstate(all="ignore"):
        for x, c in blocks((expected.array, candidate.array), BLOCK64):
            if kernels is not None:
                found = kernels.beyond(raw(x, types[0]), raw(c, types[1]), suspect, limit, allowed, mantissa)
            else:
                found = _some_beyond(x, c, types, limit, allowed, mantissa)
            if found:
                return True
    return False


def _some_beyond(x: Array, c: Array, types: tuple[str, str], limit: float, allowed: float, mantissa: int) -> bool:
    """Look at one block."""
    first, second = load_pair(x, c, types)
    suspects = ~(np.abs(second - first) < _NEARLY * limit)  # true for NaN too
    if not suspects.any():
        return False
    # Few elements come so near: for them alone everything is float64.
    first, second = widest(x[suspects], types[0]), widest(c[suspects], types[1])
    spacing = np.ldexp(allowed, np.frexp(np.abs(first))[1] - 1 - mantissa)
    return not (np.abs(second - first) <= np.maximum(spacing, limit)).all()
