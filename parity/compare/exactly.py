"""Exact kinds: ids, masks, timesteps, plain values. Compared by value, as integers, across integer and float types.

    >>> a, b = np.array([2**53, 7]), np.array([2**53 + 1, 7], dtype=np.uint64)
    >>> measure_exact(a, "int64", b, "uint64").error_max
    1.0
    >>> measure_exact(np.array([7]), "int64", np.array([7.0]), "float64").unequal
    0

Integers never travel through float64, in which 2**53 and 2**53 + 1 are one number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.compare.blocks import BLOCK64, blocks, load64
from parity.compare.sums import inner

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def measure_exact(
    exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str, own: np.ndarray | None = None,
    own_type: str = "",
) -> Exact:  # fmt: skip
    """Count the elements of `candidate` that equal neither `exact` nor `own`.

    An integer made by rounding (a pixel) may differ between the working type and float64; both are right.
    """
    unequal, peak, squares, error, problem = 0, 0.0, 0.0, 0.0, ""
    arrays: Sequence[np.ndarray] = (exact, candidate) if own is None else (exact, candidate, own)
    with np.errstate(all="ignore"):
        for group in blocks(arrays, BLOCK64):
            x, c = group[0], group[1]
            wrong, difference = _differences(x, exact_type, c, candidate_type)
            if own is not None and wrong.any():
                wrong &= _differences(group[2], own_type, c, candidate_type)[0]
            wide = load64(x, exact_type, np.empty(x.size))
            problem = problem or ("nan" if np.isnan(wide).any() else "")
            squares += inner(wide, wide)
            if wrong.any():
                off = difference[wrong]
                unequal += off.size
                peak = max(peak, float(off.max())) if not np.isnan(off).any() else math.nan
                error += inner(off, off)
    size = exact.size
    return Exact(size, unequal, math.sqrt(squares / size), math.sqrt(error / size), peak, problem)


def locate_exact(
    exact: np.ndarray, exact_type: str, candidate: np.ndarray, candidate_type: str
) -> tuple[tuple[int, ...], float, float, str]:
    """Return the index of the largest difference, both values there, and in words how many differ and where first."""
    worst, at, first, unequal, position, values = -1.0, 0, -1, 0, 0, (math.nan, math.nan)
    with np.errstate(all="ignore"):
        for x, c in blocks((exact, candidate), BLOCK64):
            wrong, distance = _differences(x, exact_type, c, candidate_type)
            places = np.flatnonzero(wrong)
            if places.size:
                unequal += places.size
                first = position + int(places[0]) if first < 0 else first
                off = np.where(np.isnan(distance[places]), np.inf, distance[places])
                here = int(places[int(off.argmax())])
                if off.max() > worst:
                    worst, at, values = float(off.max()), position + here, (x[here].item(), c[here].item())
            position += x.size
    shape = exact.shape
    index = tuple(int(i) for i in np.unravel_index(at, shape)) if shape else ()
    start = [int(i) for i in np.unravel_index(max(first, 0), shape)] if shape else []
    return index, *values, f"{unequal} of {exact.size} differ, the first at {start}"


def _differences(x: np.ndarray, x_type: str, c: np.ndarray, c_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where the values differ, and by how much as float64 (right to rounding, also beyond 2**53)."""
    if x_type in _INTEGERS and c_type in _INTEGERS:
        return _integer_differences(x, c)
    if x_type in _INTEGERS:
        return _mixed(x, load64(c, c_type, np.empty(c.size)))
    return _mixed(c, load64(x, x_type, np.empty(x.size)))


def _integer_differences(x: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _beyond_int64(values: np.ndarray) -> np.ndarray:
    """Tell which values are 2**63 or more."""
    if values.dtype == np.uint64:
        return values >= np.uint64(2**63)
    return np.zeros(values.shape, np.bool_)


def _mixed(integers: np.ndarray, floats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
