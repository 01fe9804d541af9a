"""Bounded memory over mapped files: pages that were read are given back after a while.

A mapped page counts as memory of the process from its first read to its release, so a comparison of two
traces of 100 GB would grow to 200 GB. Each thread counts what it reads and, every 2 MiB, tells the system
that it needs none of it any more; what is read again comes from the page cache.
"""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.distance.tensor import Array

__all__ = ["WINDOW_BYTES", "Reading", "note_read"]

WINDOW_BYTES: Final = 2 << 20

_AROUND: Final = 2 << 20  # the system may map this much around a page that is read, where its cache has large pages

_ADVICE: Final[int | None] = getattr(mmap, "MADV_DONTNEED", None)


class _Window(threading.local):
    """What this thread has read since it last gave back: for each file its first and last byte."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.size = 0
        self.read: dict[int, tuple[mmap.mmap, int, int]] = {}

    def add(self, source: mmap.mmap, first: int, last: int) -> None:
        """Count bytes of a file that are about to be read."""
        self.size += last - first
        known = self.read.get(id(source))
        self.read[id(source)] = (
            (source, first, last) if known is None else (source, min(first, known[1]), max(last, known[2]))
        )

    def give_back(self) -> None:
        """Give back what was read, if it is enough."""
        if self.size > WINDOW_BYTES and _ADVICE is not None:
            for mapped, first, last in self.read.values():
                start = first // _AROUND * _AROUND
                mapped.madvise(_ADVICE, start, min(-(-last // _AROUND) * _AROUND, len(mapped)) - start)
            self.read.clear()
            self.size = 0


_window = _Window()


class Reading:
    """Arrays that are read side by side, a stretch at a time."""

    def __init__(self, arrays: Iterable[Array]) -> None:
        """Find the files that they lie in, if any."""
        self._places = [(*place, array.itemsize) for array in arrays if (place := _place_of(array)) is not None]

    def note(self, start: int, stop: int) -> None:
        """Count these elements, which are about to be read; give back what was read before when there is enough of it."""
        if self._places:
            window = _window
            window.give_back()
            for source, first, itemsize in self._places:
                window.add(source, first + start * itemsize, first + stop * itemsize)


def note_read(arrays: Iterable[Array], between: int = 0) -> None:
    """Count arrays that are about to be read; give back what was read before when there is enough of it.

    `between` is how many bytes of the same files are read beside the arrays, between the first and the last of them.
    """
    window = _window
    window.give_back()
    for array in arrays:
        place = _place_of(array)
        if place is not None:
            window.add(*place, place[1] + array.nbytes)
            window.size += between
            between = 0


def _place_of(array: Array) -> tuple[mmap.mmap, int] | None:
    """Return the mapped file that an array is a view of and its first byte there, or None."""
    base: Any = array.base
    while base is not None:
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap):
            return base, _address(array) - _address(np.frombuffer(base, np.uint8, 1))
        base = getattr(base, "base", None)
    return None


def _address(array: Array) -> int:
    """Return where an array lies in memory."""
    address: int = array.__array_interface__["data"][0]
    return address
