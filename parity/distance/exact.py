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
from typing import Final

import msgspec
import numpy as np

from parity.distance.blocks import BLOCK64, blocks_of, load64
from parity.distance.place import Furthest, Place, index_of
from parity.distance.sums import Moments, of_block
from parity.distance.tensor import Array, Tensor, present

__all__ = ["Exact", "is_exact", "is_integer", "locate_exact", "measure_exact", "same_value"]

_INTEGERS: Final = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


class Exact(msgspec.Struct, frozen=True, gc=False):
    """What a pass finds of a pair that is compared by equality, or of a block of it; two add up.

    Attributes:
        size: Elements.
        unequal: How many are wrong.
        expected: Moments of the expected tensor.
        error: Moments of the differences of what is wrong.
        has_nan: Whether there is a NaN in the expected tensor, which nothing can be held against.
    """

    size: int = 0
    unequal: int = 0
    expected: Moments = Moments()
    error: Moments = Moments()
    has_nan: bool = False

    def __add__(self, other: Exact) -> Exact:
        """Return what a pass over the blocks of both finds."""
        return Exact(
            self.size + other.size,
            self.unequal + other.unequal,
            self.expected + other.expected,
            self.error + other.error,
            self.has_nan or other.has_nan,
        )

    @property
    def scale(self) -> float:
        """Return the rms of the expected tensor."""
        return self.expected.rms(self.size)

    @property
    def error_rms(self) -> float:
        """Return the rms of the differences, over all elements."""
        return self.error.rms(self.size)

    @property
    def error_max(self) -> float:
        """Return the largest difference, NaN if one is."""
        return self.error.largest

    @property
    def rel_l2(self) -> float:
        """Return the rms of the differences relative to the scale; infinite where only the scale is zero."""
        if self.scale:
            return self.error_rms / self.scale
        return math.inf if self.unequal else 0.0  # a square may underflow, a count does not

    @property
    def problem(self) -> str:
        """Return `nan` where nothing can be compared, or nothing."""
        return "nan" if self.has_nan else ""


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
    total = Exact()
    with np.errstate(all="ignore"):
        for group in blocks_of(present(expected, candidate, working), BLOCK64):
            total += _measure_block(*group)
    return total


def _measure_block(x: Tensor, c: Tensor, working: Tensor | None = None) -> Exact:
    """Measure one block."""
    wrong, distances = _differences(x, c)
    if working is not None:
        wrong &= _differences(working, c)[0]
    off = distances[wrong]
    magnitudes = np.abs(_wide(x))
    return Exact(
        size=x.array.size,
        unequal=off.size,
        expected=of_block(magnitudes, float(magnitudes.max())),
        error=of_block(off, float(off.max(initial=0.0))),
        has_nan=bool(np.isnan(magnitudes).any()),
    )


class _Unequal(msgspec.Struct, frozen=True, gc=False):
    """Unequal elements of a block, or of blocks that follow one another.

    Attributes:
        size: All elements.
        count: Those that are unequal.
        first: The place of the first of them.
        furthest: The one that is furthest off.
    """

    size: int = 0
    count: int = 0
    first: int = 0
    furthest: Furthest = Furthest()

    def __add__(self, other: _Unequal) -> _Unequal:
        """Return what there is in both, whose places count from where this one begins."""
        first = self.first
        if other.count and not self.count:
            first = self.size + other.first
        furthest = self.furthest.or_further(other.furthest, self.size)
        return _Unequal(self.size + other.size, self.count + other.count, first, furthest)


def locate_exact(expected: Tensor, candidate: Tensor) -> Place:
    """Find the largest difference; the words say how many elements differ and where the first is."""
    total = _Unequal()
    with np.errstate(all="ignore"):
        for x, c in blocks_of((expected, candidate), BLOCK64):
            total += _unequal(x, c)
    shape = expected.array.shape
    words = f"{total.count} of {total.size} differ, the first at {list(index_of(total.first, shape))}"
    return total.furthest.place(shape, outside=total.count, words=words)


def _unequal(x: Tensor, c: Tensor) -> _Unequal:
    """Look at one block."""
    wrong, distances = _differences(x, c)
    places = np.flatnonzero(wrong)
    if not places.size:
        return _Unequal(x.array.size)
    off = np.where(np.isnan(distances[places]), np.inf, distances[places])
    top = int(off.argmax())
    at = int(places[top])
    furthest = Furthest(float(off[top]), at, (x.array[at].item(), c.array[at].item()))
    return _Unequal(x.array.size, places.size, int(places[0]), furthest)


def _differences(x: Tensor, c: Tensor) -> tuple[Array, Array]:
    """Return where the values differ, and by how much as float64 (right to rounding, also beyond 2**53)."""
    if not is_integer(x.dtype):
        return _mixed(c.array, _wide(x))
    if not is_integer(c.dtype):
        return _mixed(x.array, _wide(c))
    return _integer_differences(x.array, c.array)


def _wide(block: Tensor) -> Array:
    """Return a block as float64."""
    return load64(block.array, block.dtype, np.empty(block.array.size))


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
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same_value, first, second))
    if _is_nan(first) and _is_nan(second):
        return True
    if isinstance(first, bool | int | float) and isinstance(second, bool | int | float):
        return first == second
    return type(first) is type(second) and first == second


def _is_nan(value: object) -> bool:
    """Tell whether a value is NaN; an integer may be too large to become a float."""
    return isinstance(value, float) and math.isnan(value)
