"""A second look at small pairs by the hundred: place, ulp and grid, each found for all of them at once.

As in `batch`, tensors lie end to end and a number per segment is found by `reduceat`; the words, which need
coordinates, are made for one pair at a time. What is found is what `locate` and `largest_ulps` find.

    >>> from parity.distance.tensor import Layout, Tensor
    >>> x, c = (Tensor(np.array(values, np.float32), "float32") for values in ([1.0, 2.0], [1.0, 2.5]))
    >>> look_many(Layout.of([(2,)]), x, c, [0.1], [1.0])[0][0].words
    '1 of 2 outside, all in axis 0 1'
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from parity.distance.blocks import load_pair
from parity.distance.fast import NARROW
from parity.distance.grid import WORDS, off_grid
from parity.distance.ulp import has_ulps, many_ulps
from parity.distance.where import Place, locate, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.distance.tensor import Array, Layout, Tensor

__all__ = ["look_many"]


def look_many(
    layout: Layout, expected: Tensor, candidate: Tensor, limits: Sequence[float], cosines: Sequence[float | None]
) -> tuple[list[Place], list[float] | None, list[bool] | None]:
    """Look at pairs that lie end to end, of floating types and none empty; one that is not finite by itself.

    Returns:
        For every pair its place; its largest distance in ulp; whether the candidate lies on the grid of a half type.
        The second is None for types that have no ulp, the third for those without a narrower one.
    """
    types = expected.dtype, candidate.dtype
    ulps = coarse = None
    with np.errstate(all="ignore"):
        places = _places(layout, expected, candidate, limits, cosines)
        if has_ulps(types[1]):
            ulps = many_ulps((expected.array, candidate.array), types, layout.starts)
        if types[1] in WORDS:
            coarse = (~np.logical_or.reduceat(off_grid(candidate.array, types[1]), layout.starts)).tolist()
    return places, ulps, coarse


def _places(
    layout: Layout, expected: Tensor, candidate: Tensor, limits: Sequence[float], cosines: Sequence[float | None]
) -> list[Place]:
    """Return the place of every pair's error."""
    types = expected.dtype, candidate.dtype
    x, c = load_pair(expected.array, candidate.array, types)
    shapes, sizes, starts = layout
    if x.dtype != np.float32 and NARROW.issuperset(types):  # a float16 infinity: these two are not subtracted alike
        return [
            locate(layout.cut(expected, number), layout.cut(candidate, number), limits[number], cosines[number])
            for number in range(len(shapes))
        ]
    distance = np.abs(c - x)
    tops = np.maximum.reduceat(distance, starts)
    outside = distance > np.repeat(np.asarray(limits, distance.dtype), sizes)
    counts = np.add.reduceat(outside, starts, dtype=np.intp).tolist()
    runs = np.add.reduceat(_begins(outside, starts), starts, dtype=np.intp).tolist()
    hits = np.flatnonzero(distance == np.repeat(tops, sizes))
    firsts = hits[np.minimum(np.searchsorted(hits, starts), hits.size - 1)] if hits.size else starts
    known = _cosines(x, c, starts) if None in cosines else cosines
    found = []
    for number, (top, at, start) in enumerate(zip(tops.tolist(), firsts.tolist(), starts.tolist(), strict=True)):
        cosine, shape = cosines[number], shapes[number]
        if not top < math.inf:
            found.append(locate(layout.cut(expected, number), layout.cut(candidate, number), limits[number], cosine))
            continue
        index = (at - start,) if len(shape) == 1 else tuple(map(int, np.unravel_index(at - start, shape)))
        words = words_of(shape, outside[start : start + sizes[number]], counts[number], runs[number])
        cosine = known[number] if cosine is None else cosine
        found.append(Place(index, x[at].item(), c[at].item(), counts[number], cosine or 0.0, words))
    return found


def _begins(outside: Array, starts: Array) -> Array:
    """Mark where a run of marked elements begins within its segment."""
    before = np.concatenate(([False], outside[:-1]))
    before[starts] = False
    return outside & ~before


def _cosines(x: Array, c: Array, starts: Array) -> list[float]:
    """Return the cosine of every segment as `locate` defines it."""
    x, c = x.astype(np.float64), c.astype(np.float64)
    both, x_squares, c_squares = (np.add.reduceat(product, starts) for product in (x * c, x * x, c * c))
    cosine = both / (np.sqrt(x_squares) * np.sqrt(c_squares))
    nothing = (x_squares == 0) | (c_squares == 0)
    found: list[float] = np.where(nothing, np.where(x_squares == c_squares, 1.0, 0.0), cosine).tolist()
    return found
