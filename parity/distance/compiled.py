"""Loops over a block of a pair, compiled by numba: one pass finds what numpy needs a dozen calls for.

Import it through `parity.distance.fast`, which knows whether numba is there. The types of the arrays say how their
elements widen: float32 and float64 as they are, bfloat16 stored as uint16, float16 seen as int16. As in the numpy
path, a pair that is float32 or narrower on both sides is subtracted in float32 and every other in float64; sums are
float64. So maxima, places and counts are those of the numpy path bit for bit, and sums agree to 1e-6 of
themselves.

Functions let go of the interpreter's lock, and their machine code is kept on disk. The order of a sum is the
compiler's to choose (`reassoc`), nothing else is: a NaN stays a NaN, and magnitudes are compared by their bits.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

__all__ = ["KNOWN", "LOOPS", "Kept", "Seen", "beyond", "look", "products", "ulps"]

_FEATURES: Final = get_host_cpu_features()
_WIDENS_HALF: Final = "sse2" not in _FEATURES or bool(_FEATURES.get("f16c"))

KNOWN: Final = frozenset({"float64", "float32", "bfloat16", *["float16"] * _WIDENS_HALF})
"""Types that the loops know: float16 where the processor widens it itself; an old one of Intel's kind does not."""

_NARROW: Final = (types.float32, types.int16, types.uint16)
_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_MAGNITUDE64: Final = np.uint64(0x7FFFFFFFFFFFFFFF)
_MATH: Final = {"reassoc", "contract"}
_IMAGE_AXES: Final = 4
_PIECE: Final = 1 << 9  # elements that stay in a core's cache while they are looked at twice


@intrinsic
def _half(_context: Any, value: Any) -> Any:
    """Widen a float16, given as an int16, by the processor's own instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(value), generate


def _single(value: Any) -> Any:
    """Widen an element of a narrow type to float32."""
    raise NotImplementedError(value)  # pragma: no cover - compiled code calls what follows


@overload(_single)
def _compiled_single(value):
    if value == types.int16:
        return lambda value: _half(value)  # noqa: PLW0108 - numba compiles functions only
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


def _common(value: Any, other: Any) -> Any:
    """Widen an element to the type in which it is subtracted from `other`."""
    raise NotImplementedError(value, other)  # pragma: no cover - compiled code calls what follows


@overload(_common)
def _compiled_common(value, other):
    if value in _NARROW and other in _NARROW:
        return lambda value, other: _single(value)  # noqa: ARG005 - numba compares the names of the parameters
    if value == types.float64:
        return lambda value, other: value  # noqa: ARG005
    return lambda value, other: np.float64(_single(value))  # noqa: ARG005


def _bits(value: Any) -> Any:
    """Return the bits of a magnitude, ordered as magnitudes are, infinity and NaN above all."""
    raise NotImplementedError(value)  # pragma: no cover - compiled code calls what follows


@overload(_bits)
def _compiled_bits(value):
    if value == types.float32:
        return lambda value: np.uint32(np.float32(value).view(np.uint32) & _MAGNITUDE)
    return lambda value: np.uint64(np.float64(value).view(np.uint64) & _MAGNITUDE64)


@register_jitable
def _distance(x: Any, c: Any, place: int) -> Any:
    """Return the magnitude of a difference, in the type in which this pair is subtracted."""
    return abs(_common(c[place], x[place]) - _common(x[place], c[place]))


def _number(bits: Any) -> Any:
    """Return the magnitude of bits as float64."""
    raise NotImplementedError(bits)  # pragma: no cover - compiled code calls what follows


@overload(_number)
def _compiled_number(bits):
    if bits == types.uint32:
        return lambda bits: np.float64(np.uint32(bits).view(np.float32))
    return lambda bits: np.uint64(bits).view(np.float64)


class Kept(NamedTuple):
    """What a loop keeps of the numbers that it has seen: `Moments` by the same names; a largest magnitude as its bits."""

    squares: Any
    largest: Any


@register_jitable
def _with(kept: Kept, value: Any) -> Kept:
    """Return what is kept when one more number is seen."""
    wide = np.float64(value)
    return Kept(kept.squares + wide * wide, max(kept.largest, _bits(value)))


@register_jitable
def _handed(kept: Kept) -> Kept:
    """Return what is kept as plain numbers."""
    return Kept(kept.squares, _number(kept.largest))


@njit(nogil=True, cache=True, fastmath=_MATH)
def _pair(x: Any, c: Any) -> tuple[Kept, Kept]:
    """Return what is kept of `x` and of `c - x`; the largest is not finite if an element is not."""
    zero = _common(x[0], c[0]) - _common(x[0], c[0])
    expected = error = Kept(0.0, _bits(zero))
    for place in range(x.size):
        value = _common(x[place], c[place])
        expected = _with(expected, value)
        error = _with(error, _common(c[place], x[place]) - value)
    return _handed(expected), _handed(error)


@njit(nogil=True, cache=True, fastmath=_MATH)
def _triple(x: Any, c: Any, w: Any) -> tuple[Kept, Kept, Kept]:
    """Return the same in float64, and what is kept of `w - x`."""
    expected = error = working = Kept(0.0, np.uint64(0))
    for place in range(x.size):
        value = np.float64(_common(x[place], x[place]))
        expected = _with(expected, value)
        error = _with(error, np.float64(_common(c[place], c[place])) - value)
        working = _with(working, np.float64(_common(w[place], w[place])) - value)
    return _handed(expected), _handed(error), _handed(working)


LOOPS: Final = {2: _pair, 3: _triple}
"""The pass over as many tensors."""


@njit(nogil=True, cache=True, fastmath=_MATH)
def products(x: Any, c: Any) -> Any:
    """Return the sums of `x * c`, `x * x` and `c * c` in float64."""
    both = x_squares = c_squares = 0.0
    for place in range(x.size):
        value = np.float64(_common(x[place], c[place]))
        other = np.float64(_common(c[place], x[place]))
        both += value * other
        x_squares += value * value
        c_squares += other * other
    return both, x_squares, c_squares


class Seen(NamedTuple):
    """What `look` sees of a block.

    Attributes:
        largest: The largest magnitude of a difference.
        at: The first place that has it, meaningless where it is not finite.
        outside: How many differences are above the limit.
        inside: Not zero if one of them does not lie on the border of an image, as far as they were marked.
    """

    largest: Any
    at: Any
    outside: Any
    inside: Any


@njit(nogil=True, cache=True)
def look(x: Any, c: Any, limit: float, dense: float, start: int, windows: Any, marks: Any) -> Seen:
    """Find the largest difference and those above `limit`, and mark their coordinates.

    Args:
        x: Elements of the expected tensor from the flat position `start` on.
        c: The candidate's.
        limit: In the type of the differences.
        dense: The share of the block above which what is outside need not be marked.
        start: Where in the tensor the block begins.
        windows: What the block reaches of each axis, `[axes, 3]`, int64: as `marks.windows` returns it; empty to mark nothing.
        marks: Of all windows, one after the other, not set yet.
    """
    largest = _bits(_distance(x, c, 0))
    at = outside = 0
    axes = windows.shape[0]
    inside = 0 if axes == _IMAGE_AXES else 1
    waiting = np.zeros(x.size // _PIECE + 1, np.bool_)
    for begin in range(0, x.size, _PIECE):
        one, other = x[begin : begin + _PIECE], c[begin : begin + _PIECE]
        peak, some = _tally(one, other, limit)
        if peak > largest:
            largest, at = peak, begin
        outside += some
        if some > dense * one.size:
            waiting[begin // _PIECE] = True
        elif some and axes:
            inside = _mark(one, other, limit, start + begin, windows, marks, inside)
    while _bits(_distance(x, c, at)) != largest:
        at += 1
    if axes and not outside > dense * x.size:
        for number in np.flatnonzero(waiting):
            begin = number * _PIECE
            piece = x[begin : begin + _PIECE], c[begin : begin + _PIECE]
            inside = _mark(*piece, limit, start + begin, windows, marks, inside)
    return Seen(_number(largest), at, outside, inside)


@register_jitable
def _tally(x: Any, c: Any, limit: float) -> Any:
    """Return the bits of the largest difference and how many are above `limit`."""
    peak = _bits(_distance(x, c, 0))
    outside = np.uint32(0)
    for place in range(x.size):
        off = _distance(x, c, place)
        peak = max(peak, _bits(off))
        outside = np.uint32(outside + np.uint32(off > limit))
    return peak, np.int64(outside)


@register_jitable
def _mark(x: Any, c: Any, limit: float, start: int, windows: Any, marks: Any, inside: int) -> int:
    """Mark the coordinates of the elements above `limit`; return `inside` or, if it is zero, what is known of it now.

    The elements are gone through by rows, the last axis. A row is passed over where it has nothing to add.
    """
    last = windows.shape[0] - 1
    first, reached, width = windows[last]
    columns = marks[marks.size - reached :]
    row, column = start // width, start % width
    if last == 0:
        _mark_columns(x, c, limit, columns[column - first :])
        return inside
    top, rows_reached, height = windows[last - 1]
    rows = marks[marks.size - reached - rows_reached : marks.size - reached]
    around = row // height  # counts what is around a row: its image and channel
    row %= height
    is_full = False
    is_known = _is_marked(around, windows, marks)
    place = 0
    while place < x.size:
        length = min(width - column, x.size - place)
        at = row - top if row >= top else row - top + height
        if not (is_full and inside and is_known and rows[at]):
            one, other = x[place : place + length], c[place : place + length]
            some = _mark_columns(one, other, limit, columns[(column - first) % width :])
            if some:
                rows[at] = True
                if not is_known:
                    _mark_around(around, windows, marks)
                    is_known = True
                is_full = width <= _PIECE and columns.all()
                if not inside and 0 < row < height - 1:
                    some -= column == 0 and _distance(one, other, 0) > limit
                    some -= 1 < width == column + length and _distance(one, other, length - 1) > limit
                    inside = some
        place += length
        column = 0
        row += 1
        if row == height:
            row = 0
            around += 1
            is_known = _is_marked(around, windows, marks)
    return inside


@register_jitable
def _mark_columns(x: Any, c: Any, limit: float, columns: Any) -> int:
    """Mark the elements of a piece of a row that are above `limit`; return how many there are."""
    some = 0
    for step in range(x.size):
        some += _distance(x, c, step) > limit
    if some:
        for step in range(x.size):
            columns[step] |= _distance(x, c, step) > limit
    return some


@register_jitable
def _is_marked(around: int, windows: Any, marks: Any) -> bool:
    """Tell whether the coordinates around a row are marked, on all axes but the last two."""
    end = marks.size - windows[-1, 1] - windows[-2, 1]
    for axis in range(windows.shape[0] - 3, -1, -1):
        first, reached, length = windows[axis]
        end -= reached
        place = (around - first) % length
        if place >= reached or not marks[end + place]:
            return False
        around //= length
    return True


@register_jitable
def _mark_around(around: int, windows: Any, marks: Any) -> None:
    """Mark the coordinates around a row."""
    end = marks.size - windows[-1, 1] - windows[-2, 1]
    for axis in range(windows.shape[0] - 3, -1, -1):
        first, reached, length = windows[axis]
        end -= reached
        marks[end + (around - first) % length] = True
        around //= length


@njit(nogil=True, cache=True)
def ulps(x: Any, c: Any, magnitude: int, infinity: int) -> Any:
    """Return the largest distance of two arrays of words, counted in numbers; the maximum of uint64 for an infinite one.

    Args:
        x: Words of one signed type.
        c: The same of the candidate.
        magnitude: The bits of a word without its sign.
        infinity: The magnitude of infinity.
    """
    largest = np.uint64(0)
    apart = False
    for place in range(x.size):
        one, other = np.int64(x[place]), np.int64(c[place])
        apart |= (one != other) & (max(one & magnitude, other & magnitude) >= infinity)
        one = one if one >= 0 else -(one & magnitude)
        other = other if other >= 0 else -(other & magnitude)
        largest = max(largest, np.uint64(max(one, other)) - np.uint64(min(one, other)))
    return np.uint64(0xFFFFFFFFFFFFFFFF) if apart else largest


@njit(nogil=True, cache=True)
def beyond(x: Any, c: Any, suspect: float, limit: float, allowed: float, mantissa: int) -> Any:
    """Tell whether some element differs by more than `limit` and by more than `allowed` ulp of its own.

    Args:
        x: The expected elements.
        c: The candidate's.
        suspect: A difference below this is none, in the type of the differences.
        limit: In float64.
        allowed: In ulp.
        mantissa: Mantissa bits of the type in whose ulp to count.
    """
    for place in range(x.size):
        one, other = _common(x[place], c[place]), _common(c[place], x[place])
        if not abs(other - one) < suspect:
            expected, value = np.float64(one), np.float64(other)
            spacing = math.ldexp(allowed, math.frexp(abs(expected))[1] - 1 - mantissa)
            if not abs(value - expected) <= max(spacing, limit):
                return True
    return False
