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
    from parity.distance.tensor import Array, Tensor

__all__ = ["has_ulps", "largest_ulps", "many_ulps", "some_beyond_ulps"]

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


def largest_ulps(expected: Tensor, candidate: Tensor) -> float:
    """Return the largest distance in numbers of the candidate's type; infinite where one side is not finite."""
    largest = 0
    name = candidate.dtype
    compiled = kernels_for(expected, candidate)
    with np.errstate(all="ignore"):
        for x_block, c in blocks((expected.array, candidate.array), _BLOCK if compiled is None else BLOCK64):
            x = x_block if expected.dtype == name else narrow(widest(x_block, expected.dtype), name)
            if compiled is None:
                steps = _steps(x, c, name)
            else:
                words = (raw(block.view(_CODE[name]), "") for block in (x, c))
                steps = int(compiled.ulps(*words, _MAGNITUDE[name], _INFINITY[name]))
            if steps == _APART:
                return math.inf
            largest = max(largest, steps)
    return float(largest)


def many_ulps(flat: tuple[Array, Array], types: tuple[str, str], starts: Array) -> list[float]:
    """Return the same for every pair of tensors that lie end to end, each from its place in `starts` on."""
    name = types[1]
    x = flat[0] if types[0] == name else narrow(widest(flat[0], types[0]), name)
    first, second = _ordered(x, name), _ordered(flat[1], name)
    steps = np.maximum(first, second).view(np.uint64) - np.minimum(first, second).view(np.uint64)
    apart = (first != second) & (np.maximum(np.abs(first), np.abs(second)) >= _INFINITY[name])
    largest = np.maximum.reduceat(steps, starts).astype(np.float64)
    found: list[float] = np.where(np.logical_or.reduceat(apart, starts), math.inf, largest).tolist()
    return found


def _steps(x: Array, c: Array, name: str) -> int:
    """Return the largest distance between two blocks of one type in storage form; `_APART` if it is infinite."""
    first, second = _ordered(x, name), _ordered(c, name)
    beyond = max(int(np.abs(each).max()) for each in (first, second)) >= _INFINITY[name]
    if beyond and bool((first != second)[np.maximum(np.abs(first), np.abs(second)) >= _INFINITY[name]].any()):
        return _APART
    steps = np.maximum(first, second).view(np.uint64) - np.minimum(first, second).view(np.uint64)
    return int(steps.max())


def _ordered(words: Array, name: str) -> Array:
    """Number the values of a type, in storage form, in order: 0 for zero, negative numbers below."""
    signed = words.view(_CODE[name]).astype(np.int64, copy=False)
    negative = signed >> _SIGN_SHIFT
    return (signed ^ (negative & _MAGNITUDE[name])) - negative


def some_beyond_ulps(expected: Tensor, candidate: Tensor, limit: float, output_type: str, allowed: float) -> bool:
    """Tell whether some element differs by more than `limit` and by more than `allowed` ulp of its own."""
    compiled = kernels_for(expected, candidate)
    types = expected.dtype, candidate.dtype
    suspect = np.float32(_NEARLY * limit) if NARROW.issuperset(types) else _NEARLY * limit
    with np.errstate(all="ignore"):
        for x_block, c_block in blocks((expected.array, candidate.array), BLOCK64):
            if compiled is not None:
                words = (raw(block, name) for block, name in zip((x_block, c_block), types, strict=True))
                if compiled.beyond(*words, suspect, limit, allowed, bits(output_type)):
                    return True
                continue
            first, second = load_pair(x_block, c_block, types)
            suspects = ~(np.abs(second - first) < _NEARLY * limit)  # true for NaN too
            if not suspects.any():
                continue
            x, c = widest(x_block[suspects], expected.dtype), widest(c_block[suspects], candidate.dtype)
            spacing = np.ldexp(allowed, np.frexp(np.abs(x))[1] - 1 - bits(output_type))
            if not (np.abs(c - x) <= np.maximum(spacing, limit)).all():
                return True
    return False
