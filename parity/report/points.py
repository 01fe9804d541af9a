"""The outputs of a result as points of a figure: which module, at which step, how far off."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from parity.address import Address
from parity.components import STEP
from parity.errors import AddressError
from parity.result import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parity.result import Pair

__all__ = ["Point", "highest", "places_of", "points_of"]

_OUTSIDE: Final = -1
_Key = TypeVar("_Key")


class Point(NamedTuple):
    """An output: its pair, where it was seen, and how far off it is, NaN where that was not measured."""

    pair: Pair
    path: str
    step: int
    height: float

    @property
    def measured(self) -> bool:
        """Whether it is known how far off it is."""
        return not math.isnan(self.height)

    @property
    def looped(self) -> bool:
        """Whether it belongs to a step."""
        return self.step != _OUTSIDE

    @property
    def latents(self) -> bool:
        """Whether it is what a step of the sampler returns."""
        return self.path == STEP


def points_of(pairs: Iterable[Pair], height: Callable[[Pair], float | None]) -> list[Point]:
    """Return the outputs among some pairs; `height` measures one."""
    points = []
    for pair in pairs:
        address = _output(pair.address)
        if address is not None:
            step = _OUTSIDE if address.step is None else address.step
            points.append(Point(pair, address.path, step, measured(height(pair))))
    return points


# An address returns under every question and replay, and parsing it takes longer than all else that a point needs.
@lru_cache(maxsize=65536)
def _output(text: str) -> Address | None:
    """Return the address when it is an output, else None."""
    try:
        address = Address.parse(text)
    except AddressError:
        return None
    return address if address.port.startswith("output") else None


def highest(points: Iterable[Point], key: Callable[[Point], _Key]) -> dict[_Key, Point]:
    """Return the point that is furthest off of each key; of what was not measured there is none."""
    found: dict[_Key, Point] = {}
    for point in filter(attrgetter("measured"), points):
        name = key(point)
        if point.height > found.setdefault(name, point).height:
            found[name] = point
    return found


def places_of(points: Iterable[Point]) -> dict[str, int]:
    """Return the place of each module in the order of execution."""
    places: dict[str, int] = {}
    for point in sorted(points, key=lambda point: point.pair.order):
        places.setdefault(point.path, len(places))
    return places
