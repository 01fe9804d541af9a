"""Where an error sits, in numbers and in words; worked out only for pairs that fail or come near.

    >>> from parity.compare.tensor import Tensor
    >>> x = np.zeros((1, 4, 2, 2)); c = x.copy(); c[0, 2] = 1.0
    >>> locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words
    '4 of 16 outside, all in channel 2'

A second pass in blocks, so memory stays bounded here too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from parity.compare.blocks import BLOCK64, blocks
from parity.compare.careful import widest
from parity.compare.sums import inner
from parity.dtypes import bits, narrow

if TYPE_CHECKING:
    from parity.compare.tensor import Array, Tensor

__all__ = ["Place", "count_beyond_ulps", "locate", "ulps"]

_CODE: Final = {"float64": np.int64, "float32": np.int32, "float16": np.int16, "bfloat16": np.int16}
_MAGNITUDE: Final = {"float64": 2**63 - 1, "float32": 2**31 - 1, "float16": 2**15 - 1, "bfloat16": 2**15 - 1}
_AXES: Final = {
    2: ("row", "channel"),
    3: ("image", "token", "channel"),
    4: ("image", "channel", "row", "column"),
}
_PLURAL: Final = {"image": "images", "token": "tokens", "channel": "channels", "row": "rows", "column": "columns"}
_MOST_RANGES: Final = 3
_IMAGE_AXES: Final = 4
_HAS_INSIDE: Final = 3


class Place(NamedTuple):
    """The worst element, how many are outside the limit, and that in words."""

    at: tuple[int, ...]
    reference: float | complex
    candidate: float | complex
    outside: int
    max_ulp: float | None
    cosine: float
    words: str


def locate(exact: Tensor, candidate: Tensor, limit: float) -> Place:
    """Find the worst element and describe those further off than `limit`."""
    shape = exact.array.shape
    worst, at, outside, position, interior = -1.0, 0, 0, 0, 0
    product, x_sum, c_sum = 0.0, 0.0, 0.0
    max_ulp = 0.0 if candidate.dtype in _CODE else None
    values: tuple[float | complex, float | complex] = (math.nan, math.nan)
    occupied: list[Array] = []
    with np.errstate(all="ignore"):
        for x_block, c_block in blocks((exact.array, candidate.array), BLOCK64):
            x, c = widest(x_block, exact.dtype), widest(c_block, candidate.dtype)
            distance = _distances(x, c)
            here = int(distance.argmax())
            if distance[here] > worst:
                worst, at, values = float(distance[here]), position + here, (x[here].item(), c[here].item())
            if distance[here] > limit:
                out = np.flatnonzero(distance > limit)
                occupied = occupied or [np.zeros(length, np.bool_) for length in shape]
                outside += out.size
                interior += _mark(out + position, shape, occupied)
            if max_ulp is not None:
                max_ulp = max(max_ulp, ulps(x, c, candidate.dtype))
            squares = inner(x, x), inner(c, c)
            if max(squares) < math.inf:
                product, x_sum, c_sum = product + inner(x, c), x_sum + squares[0], c_sum + squares[1]
            position += x.size
    cosine = product / math.sqrt(x_sum * c_sum) if x_sum and c_sum else (1.0 if x_sum == c_sum else 0.0)
    index = tuple(int(i) for i in np.unravel_index(at, shape)) if shape else ()
    return Place(index, *values, outside, max_ulp, cosine, describe(outside, exact.array.size, occupied, interior))


def _distances(x: Array, c: Array) -> Array:
    """Return |c - x|: zero for equal infinities, infinite where one side is not a number."""
    distance: Array = np.abs(c - x)
    if not float(np.maximum.reduce(distance)) < math.inf:
        distance[x == c] = 0.0
        distance[np.isnan(distance)] = math.inf
    return distance


def _mark(positions: Array, shape: tuple[int, ...], occupied: list[Array]) -> int:
    """Note the coordinates of elements outside; return how many of them are not on an image's border."""
    if not shape:
        return 0
    coordinates = np.unravel_index(positions, shape)
    for axis, coordinate in zip(occupied, coordinates, strict=True):
        axis[coordinate] = True
    if len(shape) != _IMAGE_AXES:
        return int(positions.size)
    rows, columns = coordinates[2], coordinates[3]
    border = (rows == 0) | (rows == shape[2] - 1) | (columns == 0) | (columns == shape[3] - 1)
    return int(np.count_nonzero(~border))


def count_beyond_ulps(exact: Tensor, candidate: Tensor, limit: float, output_type: str, allowed: float) -> int:
    """Count the elements that differ by more than `limit` and by more than `allowed` ulp of their own."""
    beyond = 0
    with np.errstate(all="ignore"):
        for x_block, c_block in blocks((exact.array, candidate.array), BLOCK64):
            x, c = widest(x_block, exact.dtype), widest(c_block, candidate.dtype)
            spacing = np.ldexp(allowed, np.frexp(np.abs(x))[1] - 1 - bits(output_type))
            beyond += int(np.count_nonzero(~(_distances(x, c) <= np.maximum(spacing, limit))))
    return beyond


def ulps(x: Array, c: Array, name: str) -> float:
    """Return the largest distance in representable numbers of the type `name`; infinite where one is not finite."""
    finite = np.isfinite(x + c)
    if not finite.all():
        if bool((x[~finite] != c[~finite]).any()):
            return math.inf
        x, c = x[finite], c[finite]
    if not x.size:
        return 0.0
    first, second = _ordered(x, name), _ordered(c, name)
    steps = np.maximum(first, second).view(np.uint64) - np.minimum(first, second).view(np.uint64)
    return float(steps.max())


def _ordered(values: Array, name: str) -> Array:
    """Number the values of a type in order, 0 for zero."""
    words = narrow(values, name).view(_CODE[name])
    magnitude = (words & _MAGNITUDE[name]).astype(np.int64, copy=False)
    return np.where(words < 0, -magnitude, magnitude)


def describe(outside: int, size: int, occupied: list[Array], interior: int) -> str:
    """Say in words which elements are outside."""
    if outside == 0:
        return ""
    text = f"{outside} of {size} outside"
    if outside == size:
        return text
    if len(occupied) == _IMAGE_AXES and interior == 0 and _runs_along_an_edge(occupied[2], occupied[3]):
        return f"{text}, all on the border"
    names = _AXES.get(len(occupied), tuple(f"axis {axis}" for axis in range(len(occupied))))
    places = [_ranges(name, marks) for name, marks in zip(names, occupied, strict=True)]
    told = [place for place in places if place]
    return f"{text}, all in {', '.join(told)}" if told else text


def _runs_along_an_edge(rows: Array, columns: Array) -> bool:
    """Tell whether marks that lie on the border only fill a side of an image that has an inside."""
    return min(rows.size, columns.size) >= _HAS_INSIDE and bool(rows.all() or columns.all())


def _ranges(name: str, marks: Array) -> str:
    """Return `channels 16-19` for the marked positions of an axis, or nothing when they are all or too scattered."""
    if marks.size <= 1 or marks.all():
        return ""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marks, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] - 1
    if starts.size > _MOST_RANGES:
        return ""
    text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return f"{name if int(marks.sum()) == 1 else _PLURAL.get(name, name)} {text}"
