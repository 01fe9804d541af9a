"""How the elements of one array lie in another: transposed, reshaped, flipped, parts exchanged, slices in another order.

Equality of bits decides. A few elements rule out what cannot be before anything is read whole, so asking costs little
where the answer is no.

>>> x = np.arange(6).reshape(2, 3)
>>> arrangement(x, x.T.copy())
Arrangement(kind='transposed', words='transpose')
>>> arrangement(np.arange(6), np.array([2, 3, 0, 1, 4, 5])).words
'with the thirds of axis 0 in the order 2, 1, 3'
>>> arrangement(np.arange(6), np.arange(1, 7)) is None
True

Limits: one rearrangement at a time; a transpose whose rows are in another order as well has no name.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import chain, combinations, islice, permutations
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import xxhash

from parity.digests import SWAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parity.distance.tensor import Array

__all__ = ["Arrangement", "Kind", "along", "arrangement", "named", "sampled"]

Kind = Literal["identity", "transposed", "flipped", "rearranged"]

_SAMPLE: Final = 64
_MOST_ORDERS: Final = 5040
_PARTS: Final = {2: "halves", 3: "thirds", 4: "quarters"}
_FEW: Final = 2


class Arrangement(NamedTuple):
    """How elements lie: a kind, and the words that follow "the reference's"; none for the identity."""

    kind: Kind
    words: str


class _Order(NamedTuple):
    """An order of slices that has a name."""

    arrangement: Arrangement
    order: Array


@lru_cache(maxsize=4096)
def sampled(size: int) -> Array:
    """Return some places of a flat array of this size, always the same ones."""
    return np.random.default_rng(size).integers(size, size=min(_SAMPLE, size))


def _swap(axes: Sequence[int]) -> Arrangement:
    """Return the arrangement whose axes are those of the original in this order."""
    moved = [axis for axis, place in enumerate(axes) if axis != place]
    if not moved:
        return Arrangement("identity", "")
    if len(axes) == _FEW:
        return Arrangement("transposed", "transpose")
    if len(moved) == _FEW:
        return Arrangement("transposed", f"with axes {moved[0]} and {moved[1]} exchanged")
    return Arrangement("transposed", f"with its axes in the order {_listed(axes)}")


def _flip(axis: int) -> Arrangement:
    """Return the arrangement of which one axis runs backwards."""
    return Arrangement("flipped", f"flipped along axis {axis}")


def named(layout: str) -> Arrangement:
    """Return the arrangement that `parity.digests` calls by this name.

    >>> named("transpose01").words
    'with axes 0 and 1 exchanged'
    """
    if layout in SWAPS:
        return _swap(SWAPS[layout])
    if layout == "identity":
        return Arrangement("identity", "")
    return _flip(int(layout.removeprefix("flip")))


def arrangement(original: Array, other: Array) -> Arrangement | None:
    """Return how the elements of `original` lie in `other`, or None where they are not the same or in no known order.

    Args:
        original: Integers, or the bits of floats, of any shape.
        other: The same type.
    """
    if original.size != other.size or not original.size:
        return None
    return next(filter(None, _looked_for(original, other)), None)


def _looked_for(original: Array, other: Array) -> Iterator[Arrangement | None]:
    """Yield one after the other how the elements may lie, None where they do not lie so."""
    yield _by_axes(original, other)
    yield from along(original, other)
    yield _mirrored(original, other)


def _by_axes(original: Array, other: Array) -> Arrangement | None:
    """Find an order of axes in which the elements of one array follow each other as in the other."""
    whole, flat = np.atleast_1d(original), other.reshape(-1)
    for axes in islice(permutations(range(whole.ndim)), _MOST_ORDERS):
        view = whole.transpose(axes)
        if _reads_as(view, flat):
            return _in_shape(_swap(axes), view.shape, np.atleast_1d(other).shape)
    return None


def _mirrored(original: Array, other: Array) -> Arrangement | None:
    """Find several axes that run backwards at once, as those of a kernel that is turned by half."""
    if original.shape != other.shape:
        return None
    flat, axes = other.reshape(-1), range(original.ndim)
    several = chain.from_iterable(combinations(axes, count) for count in axes[1:])
    for mirrored in (*several, tuple(axes)):
        if len(mirrored) > 1 and _reads_as(np.flip(original, mirrored), flat):
            return Arrangement("flipped", f"flipped along axes {_listed(mirrored)}")
    return None


def _reads_as(view: Array, flat: Array) -> bool:
    """Tell whether the elements of a view in C order are those of a flat array; a few of them mostly tell."""
    places = sampled(flat.size)
    some = view[np.unravel_index(places, view.shape)]
    if not np.array_equal(some, flat[places]):
        return False
    return np.array_equal(view.reshape(-1), flat)


def _in_shape(found: Arrangement, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Arrangement:
    """Return an arrangement whose elements may have another shape than its axes give."""
    if shape == wanted:
        return found
    if found.kind == "identity":
        return Arrangement("rearranged", "in another shape")
    return Arrangement("rearranged", f"{found.words}, in another shape")


def along(original: Array, other: Array) -> Iterator[Arrangement | None]:
    """Yield for each axis how the slices of `original` along it are ordered in `other`, None where they are others."""
    if original.shape != other.shape:
        return
    for axis, length in enumerate(original.shape):
        if length > 1:
            yield _along(original, other, axis)


def _along(original: Array, other: Array, axis: int) -> Arrangement | None:
    """Find the order of the slices along one axis."""
    first, second = np.moveaxis(original, axis, 0), np.moveaxis(other, axis, 0)
    place = int(sampled(first[0].size)[0])
    if not np.array_equal(np.sort(_line(first, place)), np.sort(_line(second, place))):
        return None
    names, wanted = _names(first), _names(second)
    if sorted(names) != sorted(wanted):
        return None
    _, numbers = np.unique(names + wanted, return_inverse=True)
    return _named(numbers[: len(names)], numbers[len(names) :], axis)


def _line(slices: Array, place: int) -> Array:
    """Return the element of each slice at one flat place."""
    index: Any = (slice(None), *np.unravel_index(place, slices.shape[1:]))
    line: Array = slices[index]
    return line


def _names(slices: Array) -> list[str]:
    """Return a digest of each slice."""
    rows = np.ascontiguousarray(slices).reshape(len(slices), -1)
    return list(map(xxhash.xxh3_128_hexdigest, rows))


def _named(names: Array, wanted: Array, axis: int) -> Arrangement:
    """Return the first named order that gives the wanted one; equal slices have one number."""
    for each in _orders(len(names), axis):
        if np.array_equal(names[each.order], wanted):
            return each.arrangement
    moved = int(np.count_nonzero(names != wanted))
    if moved == _FEW:
        first, second = np.flatnonzero(names != wanted).tolist()
        return Arrangement("rearranged", f"with {first} and {second} of axis {axis} exchanged")
    return Arrangement("rearranged", f"with {moved} of {len(names)} along axis {axis} in another order")


def _orders(length: int, axis: int) -> Iterator[_Order]:
    """Yield the orders that have a name, those that somebody means before those that happen to fit."""
    places = np.arange(length)
    yield _Order(_flip(axis), places[::-1])
    for parts in filter(lambda each: length % each == 0, _PARTS):
        yield from _of_parts(places.reshape(parts, -1), axis)
    yield from _of_blocks(places, axis)
    for shift in range(1, length):
        words = f"rotated by {shift} along axis {axis}"
        yield _Order(Arrangement("rearranged", words), np.roll(places, shift))


def _of_parts(parts: Array, axis: int) -> Iterator[_Order]:
    """Yield the orders of halves, thirds or quarters, as fused projections have them (q, k, v; the two of a gate)."""
    name = _PARTS[len(parts)]
    for order in islice(permutations(range(len(parts))), 1, None):
        counted_from_one = [place + 1 for place in order]
        words = f"with the {name} of axis {axis} in the order {_listed(counted_from_one)}"
        if len(parts) == _FEW:
            words = f"with the {name} of axis {axis} exchanged"
        yield _Order(Arrangement("rearranged", words), parts[list(order)].reshape(-1))


def _of_blocks(places: Array, axis: int) -> Iterator[_Order]:
    """Yield the orders that come of reading an axis as several and exchanging two of them, as heads are interleaved."""
    for outer, first, second in _factors(len(places)):
        blocks = places.reshape(outer, first, second, -1)
        read = " x ".join(str(length) for length in blocks.shape if length > 1)
        words = f"with axis {axis} read as {read}, the {first} and the {second} exchanged"
        yield _Order(Arrangement("rearranged", words), blocks.swapaxes(1, 2).reshape(-1))


def _factors(length: int) -> Iterator[tuple[int, int, int]]:
    """Yield three numbers whose product divides a length, the last two larger than one."""
    for outer in _divisors(length):
        inside = length // outer
        for first in _divisors(inside)[1:]:
            for second in _divisors(inside // first)[1:]:
                yield outer, first, second


@lru_cache(maxsize=1024)
def _divisors(number: int) -> list[int]:
    """Return the divisors of a number, ascending."""
    low = [each for each in range(1, math.isqrt(number) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


def _listed(numbers: Sequence[int]) -> str:
    """Return `2, 0, 1`."""
    return ", ".join(map(str, numbers))
