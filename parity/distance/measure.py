"""Distances between tensors in one cache-blocked pass, right to 1e-6 of themselves at any scale.

`measure` takes the candidate's tensor, the expected one, and on request the reference's in its working
type, and walks them together. Four ways lead through a pair, each giving the same numbers:

- `_single`: float32 and narrower on both sides. The difference of two float32 numbers is right to 6e-8 and
  sums run in float32 over rows of 512, then in float64. A block too small or too large for float32 squares
  is summed in float64.
- `_double`: everything widened to float64.
- `_compiled`: either of them in one compiled loop, where numba is installed and the tensor is worth it.
- `careful`: numbers that are not finite, or whose squares would leave float64's range; scaled by powers of
  two, two passes.

    >>> from parity.distance.tensor import Tensor
    >>> m = measure(Tensor(np.array([3.0, 4.0]), "float64"), Tensor(np.array([3.0, 4.5]), "float64"))
    >>> m.error_max, round(m.rel_l2, 3)
    (0.5, 0.1)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.distance.blocks import BLOCK64, Scratch, blocks, load32, load32_unordered, load64, scratch
from parity.distance.careful import careful
from parity.distance.fast import kernels_for, sum_up
from parity.distance.measurement import Measure, finish
from parity.distance.sums import inner, squares32
from parity.dtypes import storage, widen

if TYPE_CHECKING:
    from parity.distance.tensor import Array, Tensor

__all__ = ["measure"]

_NARROW: Final = frozenset({"float32", "float16", "bfloat16"})
_HALF_INFINITY: Final = {"float16": 0x7C00, "bfloat16": 0x7F80}
_HIDES: Final = 32.0  # what a float16 infinity, widened to 2**16, is at least away from a finite number
_SAFE64: Final = (2.0**-480, 2.0**480)


def measure(expected: Tensor, candidate: Tensor, working: Tensor | None = None) -> Measure:
    """Measure a pair of floating tensors of one shape, with at least one element; both real or both complex.

    Args:
        expected: What the candidate should be.
        candidate: What it is.
        working: The reference's own tensor in its working type, measured against `expected` in the same pass.
    """
    with np.errstate(all="ignore"):
        found = None
        compiled = kernels_for(expected, candidate) if working is None else kernels_for(expected, candidate, working)
        if compiled is not None:
            found = _compiled(compiled, expected, candidate, working)
        elif working is None and expected.dtype in _NARROW and candidate.dtype in _NARROW:
            found = _single(expected, candidate)
        elif not expected.dtype.startswith("complex"):
            found = _double(expected, candidate, working)
        return careful(expected, candidate, working) if found is None else found


def _compiled(compiled: Any, expected: Tensor, candidate: Tensor, working: Tensor | None) -> Measure | None:
    """Measure by the compiled loops, or return None as `_single` and `_double` do."""
    found = sum_up(compiled, (expected, candidate) if working is None else (expected, candidate, working))
    peaks = found[1::2]
    if not all(peak < math.inf for peak in peaks):
        return None
    if not (working is None and expected.dtype in _NARROW and candidate.dtype in _NARROW) and not all(
        map(_in_range, peaks)
    ):
        return None
    return finish(expected.array.size, *found)


def _single(expected: Tensor, candidate: Tensor) -> Measure | None:
    """Measure in float32, or return None where that is impossible."""
    room = scratch()
    pairwise = expected.dtype == candidate.dtype == "bfloat16"
    squares = error = largest = error_max = 0.0
    for x_block, c_block in blocks((expected.array, candidate.array)):
        top = _largest(x_block, expected.dtype, room)
        if not top < math.inf:
            return None
        if pairwise and x_block.size % 2 == 0 and x_block.flags.c_contiguous and c_block.flags.c_contiguous:
            x, c = load32_unordered(x_block, room.single[0]), load32_unordered(c_block, room.single[1])
        else:
            x = load32(x_block, expected.dtype, room.single[0], room.words)
            c = load32(c_block, candidate.dtype, room.single[1], room.words)
        d = np.subtract(c, x, out=room.single[2][: x.size])
        peak = _peak32(d)
        if not peak < math.inf or (peak >= _HIDES and not _largest(c_block, candidate.dtype, room) < math.inf):
            return None
        squares += squares32(x, top, room.double[0])
        if peak:
            error += squares32(d, peak, room.double[0])
            error_max = max(error_max, peak)
        largest = max(largest, top)
    return finish(expected.array.size, squares, largest, error, error_max)


def _peak32(values: Array) -> float:
    """Return the largest magnitude of float32 values, NaN if one is NaN."""
    return max(float(np.maximum.reduce(values)), -float(np.minimum.reduce(values)))


def _largest(block: Array, name: str, room: Scratch) -> float:
    """Return the largest magnitude of a block, infinity or NaN if one is not finite; the half types by their bits."""
    if name == "float32":
        return _peak32(block)
    half = room.words.view(np.uint16)[: block.size]
    bits = np.uint16(np.maximum.reduce(np.bitwise_and(block.view(np.uint16), np.uint16(0x7FFF), out=half)))
    if bits >= _HALF_INFINITY[name]:
        return math.inf
    return float(widen(np.array([bits], np.uint16).view(storage(name)), name)[0])


def _double(expected: Tensor, candidate: Tensor, working: Tensor | None) -> Measure | None:
    """Measure in float64, or return None where some number is not finite or the squares leave the range."""
    room = scratch().double
    squares = error = largest = error_max = working_error = working_max = 0.0
    arrays = (expected.array, candidate.array) if working is None else (expected.array, candidate.array, working.array)
    for group in blocks(arrays, BLOCK64):
        x = load64(group[0], expected.dtype, room[0])
        magnitude = np.abs(x, out=room[3][: x.size])
        largest = max(largest, _peak(magnitude))
        squares += inner(magnitude, magnitude)
        d = _distance(x, load64(group[1], candidate.dtype, room[1]), room[1])
        error_max = max(error_max, _peak(d))
        error += inner(d, d)
        if working is not None:
            d = _distance(x, load64(group[2], working.dtype, room[2]), room[2])
            working_max = max(working_max, _peak(d))
            working_error += inner(d, d)
        if max(largest, error_max, working_max) == math.inf:
            return None
    if not (_in_range(largest) and _in_range(error_max) and _in_range(working_max)):
        return None
    return finish(expected.array.size, squares, largest, error, error_max, working_error, working_max)


def _distance(x: Array, c: Array, room: Array) -> Array:
    """Return |c - x| in `room`."""
    d = room[: x.size]
    np.subtract(c, x, out=d)
    np.abs(d, out=d)
    return d


def _peak(magnitudes: Array) -> float:
    """Return the largest of non-negative values, infinity for a NaN."""
    found = float(np.maximum.reduce(magnitudes))
    return math.inf if math.isnan(found) else found


def _in_range(peak: float) -> bool:
    """Tell whether squares of numbers up to `peak` add up without leaving float64's range."""
    return peak == 0.0 or _SAFE64[0] <= peak <= _SAFE64[1]
