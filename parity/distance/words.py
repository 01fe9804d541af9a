"""Where an error sits, in words: `128 of 4096 outside, all in channels 16-19`.

>>> describe(2, 8, [np.array([False, True]), np.array([True, False, True, False])], is_inside=True)
'2 of 8 outside, all in row 1, channels 0, 2'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parity.distance.marks import IMAGE_AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.distance.tensor import Array

__all__ = ["MOST_RANGES", "counted", "describe"]

MOST_RANGES: Final = 3
"""Stretches of coordinates that are named; more are too scattered to tell anything."""

_AXES: Final = {
    2: ("row", "channel"),
    3: ("image", "token", "channel"),
    IMAGE_AXES: ("image", "channel", "row", "column"),
}
_PLURAL: Final = {"image": "images", "token": "tokens", "channel": "channels", "row": "rows", "column": "columns"}
_HAS_INSIDE: Final = 3


def counted(outside: int, size: int) -> str:
    """Say how many elements are outside, where that is all there is to tell."""
    return f"{outside} of {size} outside" if outside else ""


def describe(outside: int, size: int, marks: Sequence[Array], *, is_inside: bool) -> str:
    """Say which elements are outside.

    Args:
        outside: How many.
        size: Of how many.
        marks: For each axis which coordinates hold one.
        is_inside: Whether some of them does not lie on the border of an image.
    """
    text = counted(outside, size)
    if outside in {0, size}:
        return text
    if _is_border(marks, is_inside=is_inside):
        return f"{text}, all on the border"
    places = filter(None, map(_place, _names(len(marks)), marks))
    return ", all in ".join(filter(None, (text, ", ".join(places))))


def _is_border(marks: Sequence[Array], *, is_inside: bool) -> bool:
    """Tell whether marks lie on the border of images only, and fill a side of it; small images are all border."""
    if is_inside or len(marks) != IMAGE_AXES:
        return False
    _, _, rows, columns = marks
    if min(rows.size, columns.size) < _HAS_INSIDE:
        return False
    return bool(rows.all()) or bool(columns.all())


def _names(axes: int) -> Sequence[str]:
    """Return what the axes of a tensor are called."""
    known = _AXES.get(axes)
    if known is not None:
        return known
    return [f"axis {axis}" for axis in range(axes)]


def _place(name: str, marks: Array) -> str:
    """Return `channels 16-19` for the marked positions of an axis, or nothing when they are all or too scattered."""
    ranges = _ranges(marks)
    if len(ranges) > MOST_RANGES or ranges == [(0, marks.size - 1)]:
        return ""
    text = ", ".join(map(_range, ranges))
    is_one = text.isdecimal()
    if not is_one:
        name = _PLURAL.get(name, name)
    return f"{name} {text}"


def _ranges(marks: Array) -> list[tuple[int, int]]:
    """Return the first and the last position of every stretch of marks."""
    around = np.zeros(marks.size + 2, np.int8)
    around[1:-1] = marks
    changes = np.diff(around)
    firsts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return list(zip(firsts.tolist(), (ends - 1).tolist(), strict=True))


def _range(ends: tuple[int, int]) -> str:
    """Return `16-19`, or `16` for a single position."""
    first, last = ends
    if first == last:
        return str(first)
    return f"{first}-{last}"
