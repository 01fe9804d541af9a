"""Exact kinds: ids, masks, timesteps, plain values. Compared by value, as integers, across integer and float types.

    >>> from parity.distance.tensor import Tensor
    >>> a, b = np.array([2**53, 7]), np.array([2**53 + 1, 7], dtype=np.uint64)
    >>> measure_exact(Tensor(a, "int64"), Tensor(b, "uint64")).error_max
    1.0
    >>> measure_exact(Tensor(np.array([7]), "int64"), Tensor(np.array([7.0]), "float64")).unequal
    0

Integers never travel through float64, in which 2**53 and 2**53 + 1 are one number.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from parity.distance.blocks import BLOCK64, blocks, load64
from parity.distance.sums import inner
from parity.distance.tensor import Array, Tensor

__all__ = ["Exact", "is_exact", "is_integer", "locate_exact", "measure_exact", "same_value"]

_INTEGERS: Final = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


class Exact(NamedTuple):
    """What a pass over two exact tensors finds; `unequal` counts elements."""

    size: int
    unequal: int
    scale: float
    error_rms: float
    error_max: float
    problem: str = ""


def is_integer(name: str) -> bool:
    """Tell whether `name` is an integer type or bool."""
    return name in _INTEGERS


def is_exact(first: str, second: str) -> bool:
    """Tell whether tensors of these two types are compared exactly: one of them holds integers."""
    return first in _INTEGERS or second in _INTEGERS


def measure_exact(expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> Exact:
    """Count the elements of `candidate` that equal neither `expected` nor `working`.

    An integer made by rounding (a pixel) may differ between the working type and float64; both are right.
    """
    unequal, peak, squares, error, problem = 0, 0.0, 0.0, 0.0, ""
    tensors = (expected, candidate) if working is None else (expected, candidate, working)
    with np.errstate(all="ignore"):
        for group in blocks([tensor.array for tensor in tensors], BLOCK64):
            x, c, *others = (Tensor(block, tensor.dtype) for block, tensor in zip(group, tensors, strict=True))
            wrong, difference = _differences(x, c)
            for other in others:
                wrong &= _differences(other, c)[0]
            wide = load64(x.array, x.dtype, np.empty(x.array.size))
            problem = problem or ("nan" if np.isnan(wide).any() else "")
            squares += inner(wide, wide)
            if wrong.any():
                off = difference[wrong]
                unequal += off.size
                peak = max(peak, float(off.max())) if not np.isnan(off).any() else math.nan
                error += inner(off, off)
    size = expected.array.size
    return Exact(size, unequal, math.sqrt(squares / size), math.sqrt(error / size), peak, problem)


def locate_exact(expected: Tensor, candidate: Tensor) -> tuple[tuple[int, ...], float, float, str]:
    """Return the index of the largest difference, both values there, and in words how many differ and where first."""
    worst, at, first, unequal, position = -1.0, 0, -1, 0, 0
    values = (math.nan, math.nan)
    with np.errstate(all="ignore"):
        for x, c in blocks((expected.array, candidate.array), BLOCK64):
            wrong, distance = _differences(Tensor(x, expected.dtype), Tensor(c, candidate.dtype))
            places = np.flatnonzero(wrong)
            if places.size:
                unequal += places.size
                first = position + int(places[0]) if first < 0 else first
                off = np.where(np.isnan(distance[places]), np.inf, distance[places])
                here = int(places[int(off.argmax())])
                if off.max() > worst:
                    worst, at, values = float(off.max()), position + here, (x[here].item(), c[here].item())
            position += x.size
    shape = expected.array.shape
    index = tuple(int(i) for i in np.unravel_index(at, shape)) if shape else ()
    start = [int(i) for i in np.unravel_index(max(first, 0), shape)] if shape else []
    return index, *values, f"{unequal} of {expected.array.size} differ, the first at {start}"


def _differences(x: Tensor, c: Tensor) -> tuple[Array, Array]:
    """Return where the values differ, and by how much as float64 (right to rounding, also beyond 2**53)."""
    if x.dtype in _INTEGERS and c.dtype in _INTEGERS:
        return _integer_differences(x.array, c.array)
    if x.dtype in _INTEGERS:
        return _mixed(x.array, load64(c.array, c.dtype, np.empty(c.array.size)))
    return _mixed(c.array, load64(x.array, x.dtype, np.empty(x.array.size)))


def _integer_differences(x: Array, c: Array) -> tuple[Array, Array]:
    """Subtract integers of any two types modulo 2**64, the smaller from the larger."""
    x_high, c_high = _beyond_int64(x), _beyond_int64(c)
    x_word, c_word = (each.astype(np.int64, copy=False) for each in (x, c))
    larger = np.where(x_high == c_high, x_word > c_word, x_high)
    x_bits, c_bits = x_word.view(np.uint64), c_word.view(np.uint64)
    distance = np.where(larger, x_bits - c_bits, c_bits - x_bits).astype(np.float64)
    wide = (x_high != c_high) & (np.where(x_high, c_word, x_word) < 0)
    if wide.any():
        distance[wide] = np.abs(c[wide].astype(np.float64) - x[wide].astype(np.float64))
    return (x_word != c_word) | (x_high != c_high), distance


def _beyond_int64(values: Array) -> Array:
    """Tell which values are 2**63 or more."""
    if values.dtype == np.uint64:
        return values >= np.uint64(2**63)
    return np.zeros(values.shape, np.bool_)


def _mixed(integers: Array, floats: Array) -> tuple[Array, Array]:
    """Compare integers with floats: equal when the float is integral and is that integer."""
    inside = (floats >= -(2.0**63)) & (floats < 2.0**63) & (floats == np.floor(floats))
    words = np.where(inside, floats, 0.0).astype(np.int64)
    unequal, distance = _integer_differences(integers, words)
    wrong = ~inside | unequal
    return wrong, np.where(inside, distance, np.abs(integers.astype(np.float64) - floats))


def same_value(first: object, second: object) -> bool:
    """Compare plain values: numbers by value whatever their type, NaN equal to NaN, lists item by item."""
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(same_value(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    if isinstance(first, (bool, int, float)) and isinstance(second, (bool, int, float)):
        return first == second
    return type(first) is type(second) and first == second
