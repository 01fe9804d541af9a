"""Which coordinates of each axis hold elements outside a limit, of a stretch of a tensor and of the whole.

A stretch of the flat order reaches only some coordinates of the outer axes, so its marks cover a `Window` of each axis:
a block of a vector of a billion elements has marks for its own elements alone.

    >>> mask = np.array([False, True, True, False])
    >>> [axis.tolist() for axis in joined((2, 4), [scattered(mask, (2, 4), 4)])]
    [[False, True], [False, True, True, False]]
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.distance.tensor import Array

__all__ = ["IMAGE_AXES", "Marks", "Window", "blank", "joined", "scattered", "spread", "windows"]

IMAGE_AXES: Final = 4
"""Axes of images: image, channel, row, column."""


class Window(NamedTuple):
    """The coordinates of an axis that a stretch reaches: `size` of them from `first` on, round the end of the axis."""

    first: int
    size: int
    length: int

    def places(self, coordinates: Array) -> Array:
        """Return where in the window coordinates of the axis are."""
        return coordinates if self.size == self.length else (coordinates - self.first) % self.length


class Marks(NamedTuple):
    """Marks of a stretch, `[size]` for the window of each axis.

    Attributes:
        windows: One for each axis.
        axes: The marks.
        is_inside: Whether some marked element does not lie on the border of an image, as far as that is known.
    """

    windows: tuple[Window, ...]
    axes: tuple[Array, ...]
    is_inside: bool


def windows(shape: tuple[int, ...], start: int, size: int) -> tuple[Window, ...]:
    """Return what a stretch of `size` elements from `start` on reaches."""
    found: list[Window] = []
    stride = 1
    for length in reversed(shape):
        first, last = start // stride, (start + size - 1) // stride
        reached = last - first + 1
        found.append(Window(first % length, reached, length) if reached < length else Window(0, length, length))
        stride *= length
    return tuple(reversed(found))


def blank(reached: tuple[Window, ...]) -> tuple[Array, tuple[Array, ...]]:
    """Return an array without marks for all windows, and the part of it that belongs to each."""
    flat = np.zeros(sum(window.size for window in reached), np.bool_)
    ends = accumulate(window.size for window in reached)
    return flat, tuple(flat[end - window.size : end] for window, end in zip(reached, ends, strict=True))


def scattered(mask: Array, shape: tuple[int, ...], start: int) -> Marks:
    """Return the marks of a mask over a stretch, a coordinate at a time."""
    reached = windows(shape, start, mask.size)
    if len(shape) == 1:
        return Marks(reached, (mask,), is_inside=True)
    _, axes = blank(reached)
    coordinates = np.unravel_index(np.flatnonzero(mask) + start, shape)
    for marks, window, positions in zip(axes, reached, coordinates, strict=True):
        marks[window.places(positions)] = True
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


def joined(shape: tuple[int, ...], parts: Iterable[Marks]) -> list[Array]:
    """Return the marks of all axes of a tensor."""
    whole = [np.zeros(length, np.bool_) for length in shape]
    for part in parts:
        for axis, window, marks in zip(whole, part.windows, part.axes, strict=True):
            before_end = min(window.size, window.length - window.first)
            axis[window.first : window.first + before_end] |= marks[:before_end]
            axis[: window.size - before_end] |= marks[before_end:]
    return whole
