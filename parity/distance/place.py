"""Places of elements: the one that is furthest off, and what is told of where an error sits.

>>> first, second = Furthest(0.5, 3, (1.0, 1.5)), Furthest(2.0, 1, (0.0, 2.0))
>>> first.or_further(second, 4).place((2, 5), outside=2, words="").at
(1, 0)
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["Furthest", "Place", "index_of"]


class Place(msgspec.Struct, frozen=True, gc=False):
    """The worst element, how many are outside the limit, the cosine where it was worked out, and where that is in words."""

    at: tuple[int, ...]
    reference: float | complex
    candidate: float | complex
    outside: int
    cosine: float | None
    words: str


class Furthest(msgspec.Struct, frozen=True, gc=False):
    """The first of the elements that are furthest off, of a stretch of a pair.

    Attributes:
        distance: How far; below zero where nothing was looked at.
        at: Its place in the stretch.
        values: What was expected there and what the candidate has.
    """

    distance: float = -1.0
    at: int = 0
    values: tuple[float | complex, float | complex] = (math.nan, math.nan)

    def or_further(self, other: Furthest, start: int) -> Furthest:
        """Return this, or the element of a stretch that begins at `start` if it is further off."""
        if other.distance > self.distance:
            return Furthest(other.distance, start + other.at, other.values)
        return self

    def place(self, shape: tuple[int, ...], *, outside: int, words: str, cosine: float | None = None) -> Place:
        """Return what is told of a tensor of this shape."""
        return Place(index_of(self.at, shape), *self.values, outside, cosine, words)


def index_of(at: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the coordinates of a place in the flat order."""
    found: list[int] = []
    for length in reversed(shape):  # numpy would need four times as long for one place
        at, coordinate = divmod(at, length)
        found.append(coordinate)
    return tuple(reversed(found))
