"""Distances between tensors in one cache-blocked pass, right to 1e-6 of themselves at any scale.

`measure` takes the candidate's tensor, the expected one, and on request the reference's in its working
type, and walks them together. Four ways lead through a pair, each giving the same numbers:

- `_single`: float32 and narrower on both sides. The difference of two float32 numbers is right to 6e-8 and
  sums run in float32 over rows of 512, then in float64. A block too small or too large for float32 squares
  is summed in float64.
- `_double`: everything widened to float64.
- `_compiled`: either of them in one compiled loop, where the caller asks for it.
- `careful`: numbers that are not finite, or whose squares would leave float64's range; scaled by powers of
  two, two passes.

The first three yield what they find block by block, and `measure` adds it up.

    >>> from parity.distance.tensor import Tensor
    >>> m = measure(Tensor(np.array([3.0, 4.0]), "float64"), Tensor(np.array([3.0, 4.5]), "float64"))
    >>> m.error_max, round(m.rel_l2, 3)
    (0.5, 0.1)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parity.distance.blocks import BLOCK64, Scratch, blocks, blocks_of, load32, load32_unordered, load64, scratch
from parity.distance.careful import careful
from parity.distance.fast import NARROW, kernels_for, raw
from parity.distance.sums import NOTHING, Distances, Moments, of_block
from parity.distance.tensor import present
from parity.dtypes import storage, widen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.distance.tensor import Array, Tensor, Watch

__all__ = ["measure"]

_HALF_INFINITY: Final = {"float16": 0x7C00, "bfloat16": 0x7F80}
_HALF_MAGNITUDE: Final = np.uint16(0x7FFF)
_HIDES: Final = 32.0  # what a float16 infinity, widened to 2**16, is at least away from a finite number
_COMPILED_BLOCK: Final = 1 << 19


def measure(
    expected: Tensor,
    candidate: Tensor,
    working: Tensor | None = None,
    *,
    compiled: bool = False,
    watch: Watch = (),
) -> Distances:
    """Measure a pair of floating tensors of one shape, with at least one element; both real or both complex.

    Args:
        expected: What the candidate should be.
        candidate: What it is.
        working: The reference's own tensor in its working type, measured against `expected` in the same pass.
        compiled: Whether a large pair goes through the compiled loops, where numba is installed.
        watch: Hears the stretches of the tensors as they are measured: all of them, unless one is not finite or cannot
            be sliced.
    """
    tensors = present(expected, candidate, working)
    if expected.dtype.startswith("complex"):
        return careful(*tensors)
    kernels = kernels_for(*tensors, compiled=compiled)
    with np.errstate(all="ignore"):
        total = _sum_up(tensors, kernels, watch)
    if total.is_safe:
        return total
    return careful(*tensors)


def _sum_up(tensors: tuple[Tensor, ...], kernels: Any | None, watch: Watch) -> Distances:
    """Add up what the blocks of real tensors hold, until one is not finite: such tensors `careful` reads anew."""
    total = NOTHING
    for part in _parts(tensors, kernels, watch):
        total += part
        if not part.is_finite:
            break
    return total


def _parts(tensors: tuple[Tensor, ...], kernels: Any | None, watch: Watch) -> Iterator[Distances]:
    """Choose a way through real tensors."""
    if kernels is not None:
        return _compiled(kernels.LOOPS[len(tensors)], tensors, watch)
    expected, candidate, *working = tensors
    if working or not {expected.dtype, candidate.dtype} <= NARROW:
        return _double(tensors, watch)
    return _single(expected, candidate, watch)


def _compiled(loop: Any, tensors: tuple[Tensor, ...], watch: Watch) -> Iterator[Distances]:
    """Measure by a compiled loop."""
    arrays = [raw(tensor.array, tensor.dtype) for tensor in tensors]
    for group in blocks(arrays, _COMPILED_BLOCK, watch):
        kept = loop(*group)
        yield Distances.of(group[0].size, [Moments(*each) for each in kept])


def _single(expected: Tensor, candidate: Tensor, watch: Watch) -> Iterator[Distances]:
    """Measure in float32."""
    room = scratch()
    are_bfloat16 = expected.dtype == candidate.dtype == "bfloat16"
    for x_block, c_block in blocks((expected.array, candidate.array), watch=watch):
        largest = _largest(x_block, expected.dtype, room)
        if are_bfloat16 and _lie_in_words(x_block, c_block):
            x, c = load32_unordered(x_block, room.single[0]), load32_unordered(c_block, room.single[1])
        else:
            x = load32(x_block, expected.dtype, room.single[0], room.words)
            c = load32(c_block, candidate.dtype, room.single[1], room.words)
        off = np.subtract(c, x, out=room.single[2][: x.size])
        peak = _peak32(off)
        if peak >= _HIDES and not _largest(c_block, candidate.dtype, room) < math.inf:
            peak = math.inf
        yield Distances(x.size, of_block(x, largest), of_block(off, peak))


def _lie_in_words(x: Array, c: Array) -> bool:
    """Tell whether two blocks of a half type can be widened two numbers at a time."""
    return x.size % 2 == 0 and x.flags.c_contiguous and c.flags.c_contiguous


def _peak32(values: Array) -> float:
    """Return the largest magnitude of float32 values, NaN if one is NaN."""
    return max(float(np.maximum.reduce(values)), -float(np.minimum.reduce(values)))


def _largest(block: Array, name: str, room: Scratch) -> float:
    """Return the largest magnitude of a block, infinity or NaN if one is not finite; the half types by their bits."""
    if name == "float32":
        return _peak32(block)
    half = room.words.view(np.uint16)[: block.size]
    bits = np.uint16(np.maximum.reduce(np.bitwise_and(block.view(np.uint16), _HALF_MAGNITUDE, out=half)))
    if bits >= _HALF_INFINITY[name]:
        return math.inf
    return float(widen(np.array([bits], np.uint16).view(storage(name)), name)[0])


def _double(tensors: tuple[Tensor, ...], watch: Watch) -> Iterator[Distances]:
    """Measure in float64."""
    room = scratch().double
    for first, *others in blocks_of(tensors, BLOCK64, watch):
        x = load64(first.array, first.dtype, room[0])
        found = [_of_magnitudes(x, room[3])]
        for other, buffer in zip(others, room[1:], strict=False):
            c = load64(other.array, other.dtype, buffer)
            off = np.subtract(c, x, out=buffer[: x.size])
            found.append(_of_magnitudes(off, buffer))
        yield Distances.of(x.size, found)


def _of_magnitudes(values: Array, room: Array) -> Moments:
    """Return the moments of float64 values, whose magnitudes are written into `room`."""
    magnitudes = np.abs(values, out=room[: values.size])
    return of_block(magnitudes, float(np.maximum.reduce(magnitudes)))
