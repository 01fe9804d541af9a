"""Which coordinates of each axis hold elements outside a limit, of a stretch of a tensor and of the whole.

A stretch of the flat order reaches only some coordinates of the outer axes, so it has marks for a window of each axis
alone: a block of a vector of a billion elements for its own elements.

    >>> mask = np.array([False, True, True, False])
    >>> [axis.tolist() for axis in joined((2, 4), [scattered(mask, (2, 4), 4)])]
    [[False, True], [False, True, True, False]]
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.distance.tensor import Array

__all__ = ["IMAGE_AXES", "Marks", "blank", "joined", "scattered", "spread", "windows"]

IMAGE_AXES: Final = 4
"""Axes of images: image, channel, row, column."""


class Marks(NamedTuple):
    """Marks of a stretch.

    Attributes:
        windows: What the stretch reaches of each axis, as `windows` returns it.
        axes: The marks in each window.
        is_inside: Whether some marked element does not lie on the border of an image, as far as that is known.
    """

    windows: Array
    axes: Sequence[Array]
    is_inside: bool


def windows(shape: tuple[int, ...], start: int, size: int) -> Array:
    """Return what `size` elements from `start` on reach of each axis.

    Returns:
        `[axes, 3]`, int64: the first coordinate, how many there are from it on, round the end of the axis if need be, and
        the axis's length. A whole axis begins at 0.
    """
    found: list[tuple[int, int, int]] = []
    stride = 1
    for length in reversed(shape):
        first = start // stride
        reached = (start + size - 1) // stride - first + 1
        if reached < length:
            found.append((first % length, reached, length))
        else:
            found.append((0, length, length))
        stride *= length
    return np.array(found[::-1], np.int64).reshape(-1, 3)


def blank(reached: Array) -> tuple[Array, list[Array]]:
    """Return an array without marks for all windows, and the part of it that belongs to each."""
    sizes = reached[:, 1].tolist()
    flat = np.zeros(sum(sizes), np.bool_)
    return flat, [flat[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def scattered(mask: Array, shape: tuple[int, ...], start: int) -> Marks:
    """Return the marks of a mask over a stretch, a coordinate at a time."""
    reached = windows(shape, start, mask.size)
    if len(shape) == 1:
        return Marks(reached, [mask], is_inside=True)
    _, axes = blank(reached)
    coordinates = np.unravel_index(np.flatnonzero(mask) + start, shape)
    for marks, positions, (first, size, length) in zip(axes, coordinates, reached.tolist(), strict=True):
        marks[positions if size == length else (positions - first) % length] = True
    is_inside = True
    if len(shape) == IMAGE_AXES:
        is_inside = not (_is_end(coordinates[2], shape[2]) | _is_end(coordinates[3], shape[3])).all()
    return Marks(reached, axes, is_inside=is_inside)


def _is_end(coordinates: Array, length: int) -> Array:
    """Tell which coordinates are the first or the last of their axis."""
    found: Array = (coordinates == 0) | (coordinates == length - 1)
    return found


def spread(shape: tuple[int, ...], start: int, size: int) -> Marks:
    """Return the marks of a stretch of which every element counts as marked."""
    reached = windows(shape, start, size)
    flat, axes = blank(reached)
    flat[:] = True
    return Marks(reached, axes, is_inside=True)


def joined(shape: tuple[int, ...], parts: Sequence[Marks]) -> Sequence[Array]:
    """Return the marks of all axes of a tensor."""
    if len(parts) == 1 and tuple(parts[0].windows[:, 1].tolist()) == shape:
        return parts[0].axes
    whole = [np.zeros(length, np.bool_) for length in shape]
    for part in parts:
        for axis, marks, (first, size, length) in zip(whole, part.axes, part.windows.tolist(), strict=True):
            before_end = min(size, length - first)
            axis[first : first + before_end] |= marks[:before_end]
            axis[: size - before_end] |= marks[before_end:]
    return whole
