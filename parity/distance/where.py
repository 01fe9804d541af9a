"""Where an error sits, in numbers and in words; worked out only for pairs that fail or come near.

    >>> from parity.distance.tensor import Tensor
    >>> x = np.zeros((1, 4, 2, 2)); c = x.copy(); c[0, 2] = 1.0
    >>> locate(Tensor(x, "float64"), Tensor(c, "float64"), 0.5).words
    '4 of 16 outside, all in channel 2'

A second pass in blocks, in float32 where the types allow it. What is seen of a block is a `Sight`, and the sights of
blocks that follow one another add up to that of the whole. A block is looked at by numpy or by a compiled loop, which see
the same; small pairs by the hundred lie end to end as in `batch`, and what needs no coordinates is found for all at once.

Coordinates are worked out for a bounded number of elements, and not where nearly a whole block is outside; such
elements count as spread over their block, which can only make the words less precise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from parity.distance.blocks import BLOCK, BLOCK64, blocks, load_pair, scratch
from parity.distance.fast import NARROW, kernels_for, raw, stored
from parity.distance.marks import Marks, blank, joined, scattered, spread, windows
from parity.distance.place import Furthest, Place, index_of
from parity.distance.products import inner
from parity.distance.words import MOST_RANGES, counted, describe
from parity.dtypes import widen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["locate", "locate_many"]

_SAFE32: Final = (1e-25, 1e25)
_MOST_COORDINATES: Final = 1 << 18
_DENSE: Final = 7 / 8


class Products(NamedTuple):
    """Sums of the products of two tensors' elements, from which the cosine follows."""

    both: float = 0.0
    expected: float = 0.0
    candidate: float = 0.0

    def plus(self, other: Products) -> Products:
        """Return the sums over both."""
        return Products(*map(float.__add__, self, other))

    @property
    def fit_float32(self) -> bool:
        """Tell whether the squares were added up without leaving float32's range."""
        least, most = _SAFE32
        return least < self.expected < most and least < self.candidate < most

    def if_finite(self) -> Products:
        """Return these, or none where a square is infinite."""
        return self if max(self.expected, self.candidate) < math.inf else Products()

    @property
    def cosine(self) -> float:
        """Return the cosine: 1 of nothing with nothing, 0 of nothing with something."""
        if not (self.expected and self.candidate):
            return float(self.expected == self.candidate)
        norms = math.sqrt(self.expected) * math.sqrt(self.candidate)
        return self.both / norms


class Search(NamedTuple):
    """What is looked for.

    Attributes:
        types: Those of the pair.
        shape: That of both tensors.
        limit: A difference beyond it is outside.
        with_cosine: Whether the cosine is wanted too.
    """

    types: tuple[str, str]
    shape: tuple[int, ...]
    limit: float
    with_cosine: bool


class Sight(msgspec.Struct, frozen=True, gc=False):
    """What is seen of a stretch of a pair. The sum of two that follow one another is what is seen of both.

    Attributes:
        size: Elements.
        furthest: The element that is furthest off, unless one before it is as far.
        outside: How many are outside the limit.
        marks: Where they are, stretch by stretch.
        exact: How many of them were marked a coordinate at a time.
        products: What the cosine follows from, where it is wanted.
    """

    size: int = 0
    furthest: Furthest = Furthest()
    outside: int = 0
    marks: tuple[Marks, ...] = ()
    exact: int = 0
    products: Products = Products()

    def __add__(self, other: Sight) -> Sight:
        """Return what is seen of both; `other` begins where this ends."""
        return Sight(
            self.size + other.size,
            self.furthest.or_further(other.furthest, self.size),
            self.outside + other.outside,
            self.marks + other.marks,
            self.exact + other.exact,
            self.products.plus(other.products),
        )

    def place(self, search: Search, cosine: float | None) -> Place:
        """Return what is told of it when it is that of the whole pair; `cosine` if it was known before."""
        words = ""
        if self.outside:
            is_inside = any(part.is_inside for part in self.marks)
            words = describe(self.outside, self.size, joined(search.shape, self.marks), is_inside=is_inside)
        if cosine is None:
            cosine = self.products.cosine
        return self.furthest.place(search.shape, outside=self.outside, words=words, cosine=cosine)


def locate(
    expected: Tensor, candidate: Tensor, limit: float, cosine: float | None = None, peak: float = math.inf,
    *, compiled: bool = False,
) -> Place:  # fmt: skip
    """Find the worst element and describe those further off than a limit.

    Args:
        expected: What the candidate should be.
        candidate: What it is.
        limit: An element that is further off is outside.
        cosine: That of the two where it is known.
        peak: The largest difference where it is known: if it is within the limit the search ends at its place.
        compiled: Whether large tensors go through the compiled loops, where numba is installed.
    """
    types = expected.dtype, candidate.dtype
    search = Search(types, expected.array.shape, limit, with_cosine=cosine is None)
    ends_early = cosine is not None and peak <= limit
    kernels = kernels_for(expected, candidate, compiled=compiled)
    arrays = raw(expected.array, types[0]), raw(candidate.array, types[1])
    seen = Sight()
    with np.errstate(all="ignore"):
        for x, c in blocks(arrays, BLOCK64 if "float64" in types else BLOCK):
            seen += _look(search, kernels, x, c, seen)
            if ends_early and seen.furthest.distance >= peak:
                break
    return seen.place(search, cosine)


def _look(search: Search, kernels: Any | None, x: Array, c: Array, before: Sight) -> Sight:
    """Look at a block, which follows what was seen before; by a compiled loop if there is one and all is finite."""
    found = None if kernels is None else _look_compiled(search, kernels, x, c, before)
    if found is None:
        first, second = search.types
        found = _look_numpy(search, *load_pair(stored(x, first), stored(c, second), search.types), before)
    return found


def _look_numpy(search: Search, x: Array, c: Array, before: Sight) -> Sight:
    """Look at elements of one type."""
    distance, top = _distances(x, c)
    furthest = Furthest()
    if top > before.furthest.distance:
        at = int(distance.argmax())
        furthest = Furthest(top, at, (x[at].item(), c[at].item()))
    products = _products(x, c) if search.with_cosine else Products()
    if not top > search.limit:
        return Sight(x.size, furthest, products=products)
    mask = distance > search.limit
    outside = int(np.count_nonzero(mask))
    marks, exact = _marked(search, before, x.size, outside, lambda: scattered(mask, search.shape, before.size))
    return Sight(x.size, furthest, outside, marks, exact, products)


def _look_compiled(search: Search, kernels: Any, x: Array, c: Array, before: Sight) -> Sight | None:
    """Do the same; return None where some element is not finite, which the loops do not compare by place and sign."""
    limit = np.float32(search.limit) if NARROW.issuperset(search.types) else search.limit
    reached = windows(search.shape if before.exact < _MOST_COORDINATES else (), before.size, x.size)
    flat, axes = blank(reached)
    found = kernels.look(x, c, limit, _DENSE, before.size, reached, flat)
    if not found.largest < math.inf:
        return None
    furthest = Furthest()
    if found.largest > before.furthest.distance:
        first, second = search.types
        furthest = Furthest(found.largest, found.at, (_value(x, first, found.at), _value(c, second, found.at)))
    products = Products()
    if search.with_cosine:
        products = Products(*kernels.products(x, c)).if_finite()

    def one_by_one() -> Marks:
        return Marks(reached, axes, is_inside=bool(found.inside))

    marks, exact = _marked(search, before, x.size, found.outside, one_by_one)
    return Sight(x.size, furthest, found.outside, marks, exact, products)


def _value(block: Array, name: str, at: int) -> float:
    """Return one element of a block that `raw` may have changed."""
    element = stored(block[at : at + 1], name)
    return float(widen(element, name)[0])


def _marked(
    search: Search, before: Sight, size: int, outside: int, one_by_one: Callable[[], Marks]
) -> tuple[tuple[Marks, ...], int]:
    """Return the marks of a block of this size, and how many of its elements are to be marked one by one."""
    if not outside:
        return (), 0
    if outside > _DENSE * size:
        return (spread(search.shape, before.size, size),), 0
    if before.exact + outside > _MOST_COORDINATES:
        return (spread(search.shape, before.size, size),), outside
    return (one_by_one(),), outside


def _distances(x: Array, c: Array) -> tuple[Array, float]:
    """Return |c - x| and the largest of it: zero for equal infinities, infinite where one side is not a number."""
    if x.dtype.kind == "c":
        distance: Array = np.abs(c - x)
    else:
        room = scratch().single[0] if x.dtype == np.float32 else scratch().double[0]
        distance = room[: x.size] if x.size <= room.size else np.empty(x.size)
        np.subtract(c, x, out=distance)
        np.abs(distance, out=distance)
    top = float(np.maximum.reduce(distance))
    if top < math.inf:
        return distance, top
    distance[x == c] = 0.0
    distance[np.isnan(distance)] = math.inf
    return distance, float(np.maximum.reduce(distance))


def _products(x: Array, c: Array) -> Products:
    """Return the products of a block."""
    products = Products(0.0, inner(x, x), inner(c, c))
    if x.dtype == np.float32 and not products.fit_float32:
        x, c = x.astype(np.float64), c.astype(np.float64)
        products = Products(0.0, inner(x, x), inner(c, c))
    return products._replace(both=inner(x, c)).if_finite()


def locate_many(
    layout: Layout, expected: Tensor, candidate: Tensor, limits: Sequence[float], cosines: Sequence[float | None]
) -> list[Place]:
    """Find what `locate` finds for pairs that lie end to end, of floating types and none empty."""

    def alone(number: int) -> Place:
        pair = layout.cut(expected, number), layout.cut(candidate, number)
        return locate(*pair, limits[number], cosines[number])

    types = expected.dtype, candidate.dtype
    with np.errstate(all="ignore"):
        x, c = load_pair(expected.array, candidate.array, types)
        if x.dtype != np.float32 and NARROW.issuperset(types):
            return list(map(alone, range(len(layout.shapes))))  # one float16 infinity must not widen the other pairs
        places = enumerate(_places(layout, x, c, limits, cosines))
        return [alone(number) if place is None else place for number, place in places]


def _places(
    layout: Layout, x: Array, c: Array, limits: Sequence[float], cosines: Sequence[float | None]
) -> Iterator[Place | None]:
    """Yield the place of every pair, None for one with an element that is not finite."""
    shapes, sizes, starts = layout
    distance = np.abs(c - x)
    tops = np.maximum.reduceat(distance, starts)
    outside = distance > np.repeat(np.asarray(limits, distance.dtype), sizes)
    counts = np.add.reduceat(outside, starts, dtype=np.intp).tolist()
    runs = np.add.reduceat(_begins(outside, starts), starts, dtype=np.intp).tolist()
    known = _cosines(x, c, starts) if None in cosines else cosines
    firsts = _firsts(distance == np.repeat(tops, sizes), starts)
    values = zip(x[firsts].tolist(), c[firsts].tolist(), strict=True)
    within = (firsts - starts).tolist()
    for number, (top, at, start, pair) in enumerate(zip(tops.tolist(), within, starts.tolist(), values, strict=True)):
        if not top < math.inf:
            yield None
            continue
        mask = outside[start : start + sizes[number]]
        words = _words_of(shapes[number], mask, counts[number], runs[number])
        cosine = cosines[number]
        if cosine is None:
            cosine = known[number]
        yield Place(index_of(at, shapes[number]), *pair, counts[number], cosine, words)


def _begins(outside: Array, starts: Array) -> Array:
    """Mark where a run of marked elements begins within its segment."""
    before = np.concatenate(([False], outside[:-1]))
    before[starts] = False
    return outside & ~before


def _firsts(marked: Array, starts: Array) -> Array:
    """Return the first marked place of every segment, any place where there is none."""
    places = np.flatnonzero(marked)
    if not places.size:
        return starts
    following = np.searchsorted(places, starts)
    found: Array = places[np.minimum(following, places.size - 1)]
    return found


def _cosines(x: Array, c: Array, starts: Array) -> list[float]:
    """Return the cosine of every segment."""
    x, c = x.astype(np.float64), c.astype(np.float64)
    sums = [np.add.reduceat(product, starts).tolist() for product in (x * c, x * x, c * c)]
    return [Products(*row).cosine for row in zip(*sums, strict=True)]


def _words_of(shape: tuple[int, ...], mask: Array, count: int, runs: int) -> str:
    """Say in words where the `count` marked elements of a whole tensor are; `runs` tells in how many stretches they lie.

    Where `describe` would name no coordinate none is worked out: nearly all are marked, or too many stretches of a vector.
    """
    is_scattered = len(shape) == 1 and runs > MOST_RANGES
    if not count or is_scattered or count > _DENSE * mask.size:
        return counted(count, mask.size)
    marks = scattered(mask, shape, 0)
    return describe(count, mask.size, marks.axes, is_inside=marks.is_inside)
