"""Where an error sits, in numbers and in words; worked out only for pairs that fail or come near.

    >>> from parity.distance.tensor import Tensor
    >>> x = np.zeros((1, 4, 2, 2)); c = x.copy(); c[0, 2] = 1.0
    >>> locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words
    '4 of 16 outside, all in channel 2'

A second pass in blocks, in float32 where the types allow it. Coordinates are worked out for a bounded number
of elements, and not where nearly a whole block is outside; such elements count as spread over their block,
which can only make the words less precise.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from parity.distance.blocks import BLOCK, BLOCK64, blocks, load_pair, scratch
from parity.distance.fast import NARROW, kernels_for, raw, stored
from parity.distance.sums import inner
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.distance.tensor import Array, Tensor

__all__ = ["Place", "locate", "words_of"]

_AXES: Final = {
    2: ("row", "channel"),
    3: ("image", "token", "channel"),
    4: ("image", "channel", "row", "column"),
}
_PLURAL: Final = {"image": "images", "token": "tokens", "channel": "channels", "row": "rows", "column": "columns"}
_MOST_RANGES: Final = 3
_IMAGE_AXES: Final = 4
_HAS_INSIDE: Final = 3
_SAFE32: Final = (1e-25, 1e25)
_MOST_COORDINATES: Final = 1 << 18
_DENSE: Final = 7 / 8


class Place(msgspec.Struct, frozen=True, gc=False):
    """The worst element, how many are outside the limit, and that in words."""

    at: tuple[int, ...]
    reference: float | complex
    candidate: float | complex
    outside: int
    cosine: float
    words: str


def locate(
    expected: Tensor, candidate: Tensor, limit: float, cosine: float | None = None, peak: float = math.inf
) -> Place:
    """Find the worst element and describe those further off than `limit`; the cosine unless it is known.

    `peak` is the largest difference if it is known: where it is within the limit the search ends at its place.
    """
    ends_early = cosine is not None and peak <= limit
    search = _Search(expected.array.shape, limit, cosine)
    types = expected.dtype, candidate.dtype
    compiled = kernels_for(expected, candidate)
    arrays: list[Array] = [expected.array, candidate.array]
    if compiled is not None:
        arrays = [raw(array, name) for array, name in zip(arrays, types, strict=True)]
    with np.errstate(all="ignore"):
        for x, c in blocks(arrays, BLOCK if "float64" not in types else BLOCK64):
            if compiled is None or not search.look_quickly(compiled, x, c, types):
                search.look(*load_pair(stored(x, types[0]), stored(c, types[1]), types))
            if ends_early and search.worst >= peak:
                break
    return search.place()


class _Search:
    """What is known of the elements seen so far."""

    def __init__(self, shape: tuple[int, ...], limit: float, cosine: float | None) -> None:
        """Begin at the first element."""
        self.cosine = cosine
        self.shape = shape
        self.limit = limit
        self.position = self.outside = self.at = 0
        self.inside = 0  # not zero if some element outside the limit does not lie on the border of an image
        self.worst = -1.0
        self.values: tuple[float | complex, float | complex] = (math.nan, math.nan)
        self.marks = np.zeros(sum(shape), np.bool_)
        ends = list(accumulate(shape))
        self.occupied = [self.marks[end - length : end] for length, end in zip(shape, ends, strict=True)]
        self.coordinates = 0
        self.spread = False  # whether every coordinate is marked, so that there is nothing to add
        self.product = self.x_squares = self.c_squares = 0.0

    def look(self, x: Array, c: Array) -> None:
        """Look at the next elements, flat and of one type."""
        distance, top = _distances(x, c)
        if top > self.worst:
            here = int(distance.argmax())
            self.worst, self.at, self.values = top, self.position + here, (x[here].item(), c[here].item())
        if top > self.limit:
            mask = np.greater(distance, self.limit)
            self.note(int(np.count_nonzero(mask)), mask)
        if self.cosine is None:
            self._add_products(x, c)
        self.position += x.size

    def note(self, count: int, mask: Array) -> None:
        """Note the `count` marked elements of a block."""
        if count:
            self._mark(count, mask.size, partial(self._scatter, mask))

    def look_quickly(self, compiled: Any, x: Array, c: Array, types: tuple[str, str]) -> bool:
        """Do the same with a compiled loop; return False where some element is not finite, for `look` to do it all."""
        limit = np.float32(self.limit) if NARROW.issuperset(types) else self.limit
        marks = bool(self.shape) and self.coordinates <= _MOST_COORDINATES
        shape = np.array(self.shape if marks else (), np.int64)
        found = compiled.look(x, c, limit, _DENSE, self.position, shape, self.marks, self.inside)
        top, here, outside, inside = found
        if not top < math.inf:
            return False
        if top > self.worst:
            value, other = (
                float(widen(stored(block[here : here + 1], name), name)[0])
                for block, name in zip((x, c), types, strict=True)
            )
            self.worst, self.at, self.values = top, self.position + here, (value, other)
        if outside:
            self._mark(outside, x.size, lambda: inside)
        if self.cosine is None:
            product, x_squares, c_squares = compiled.products(x, c)
            if max(x_squares, c_squares) < math.inf:
                self.product += product
                self.x_squares += x_squares
                self.c_squares += c_squares
        self.position += x.size
        return True

    def _add_products(self, x: Array, c: Array) -> None:
        """Add what the cosine needs."""
        squares = inner(x, x), inner(c, c)
        if x.dtype == np.float32 and not all(_SAFE32[0] < square < _SAFE32[1] for square in squares):
            x, c = x.astype(np.float64), c.astype(np.float64)
            squares = inner(x, x), inner(c, c)
        if max(squares) < math.inf:
            self.product += inner(x, c)
            self.x_squares += squares[0]
            self.c_squares += squares[1]

    def _mark(self, count: int, size: int, scatter: Callable[[], int]) -> None:
        """Note how many elements of a block are outside, and their coordinates while there are not too many.

        `scatter` marks the coordinates and returns what is not zero if some do not lie on an image's border.
        """
        self.outside += count
        if not self.shape:
            return
        dense = count > _DENSE * size
        self.coordinates += 0 if dense else count
        if not (dense or self.coordinates > _MOST_COORDINATES):
            self.inside |= scatter()
            return
        if not self.spread:
            self._spread(size)
            self.spread = all(axis.all() for axis in self.occupied)
        self.inside = 1

    def _scatter(self, mask: Array) -> int:
        """Mark the coordinates of a block's elements; return what is not zero if some do not lie on an image's border."""
        coordinates = np.unravel_index(np.flatnonzero(mask) + self.position, self.shape)
        for axis, coordinate in zip(self.occupied, coordinates, strict=True):
            axis[coordinate] = True
        if len(self.shape) != _IMAGE_AXES:
            return 1
        rows, columns = coordinates[2], coordinates[3]
        border = (rows == 0) | (rows == self.shape[2] - 1) | (columns == 0) | (columns == self.shape[3] - 1)
        return int(not border.all())

    def _spread(self, size: int) -> None:
        """Mark every coordinate that a block of this many elements reaches."""
        inside = 1
        for axis, length in zip(reversed(self.occupied), reversed(self.shape), strict=True):
            first, last = self.position // inside, (self.position + size - 1) // inside
            if last - first + 1 >= length:
                axis[:] = True
            else:
                axis[np.arange(first, last + 1) % length] = True
            inside *= length

    def place(self) -> Place:
        """Return what was found."""
        cosine = self.cosine
        if cosine is None:
            cosine = 1.0 if self.x_squares == self.c_squares else 0.0
            if self.x_squares and self.c_squares:
                cosine = self.product / (math.sqrt(self.x_squares) * math.sqrt(self.c_squares))
        at = tuple(int(i) for i in np.unravel_index(self.at, self.shape)) if self.shape else ()
        words = describe(self.outside, self.position, self.occupied, self.inside)
        return Place(at, *self.values, self.outside, cosine, words)


def _distances(x: Array, c: Array) -> tuple[Array, float]:
    """Return |c - x| and the largest of it: zero for equal infinities, infinite where one side is not a number."""
    if x.dtype.kind == "c":
        distance: Array = np.abs(c - x)
    else:
        room = scratch()
        if x.dtype == np.float32:
            distance = room.single[0][: x.size]
        else:
            distance = room.double[0][: x.size] if x.size <= BLOCK64 else np.empty(x.size)
        np.subtract(c, x, out=distance)
        np.abs(distance, out=distance)
    top = float(np.maximum.reduce(distance))
    if top < math.inf:
        return distance, top
    distance[x == c] = 0.0
    distance[np.isnan(distance)] = math.inf
    return distance, float(np.maximum.reduce(distance))


def words_of(shape: tuple[int, ...], mask: Array, count: int, runs: int) -> str:
    """Say in words where the `count` marked elements of a flat mask are; `runs` tells in how many stretches they lie.

    Where `describe` would name no coordinate none is worked out: nearly all are marked, or too many stretches of a vector.
    """
    if not count:
        return ""
    if count > _DENSE * mask.size or (len(shape) == 1 and runs > _MOST_RANGES):
        return f"{count} of {mask.size} outside"
    if len(shape) == 1:
        return describe(count, mask.size, [mask], inside=1)
    search = _Search(shape, math.inf, 1.0)
    search.note(count, mask)
    return describe(count, mask.size, search.occupied, search.inside)


def describe(outside: int, size: int, occupied: list[Array], inside: int) -> str:
    """Say in words which elements are outside."""
    if outside == 0:
        return ""
    text = f"{outside} of {size} outside"
    if outside == size:
        return text
    if len(occupied) == _IMAGE_AXES and not inside and _runs_along_an_edge(occupied[2], occupied[3]):
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
    if marks.size <= 1:
        return ""
    edges = [0] if marks[0] else []
    edges += (np.flatnonzero(marks[1:] != marks[:-1]) + 1).tolist()
    if marks[-1]:
        edges.append(marks.size)
    if edges == [0, marks.size] or len(edges) > 2 * _MOST_RANGES:
        return ""
    ranges = [(start, end - 1) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
    return f"{_PLURAL.get(name, name) if '-' in text or ',' in text else name} {text}"
