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

    from parity.compare.tensor import Array

__all__ = ["WINDOW_BYTES", "note_read"]

WINDOW_BYTES: Final = 2 << 20

_AROUND: Final = 2 << 20  # the system may map this much around a page that is read, where its cache has large pages

_ADVICE: Final[int | None] = getattr(mmap, "MADV_DONTNEED", None)


class _Window(threading.local):
    """What this thread has read since it last gave back: for each file its address and the first and last byte."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.size = 0
        self.read: dict[int, tuple[mmap.mmap, int, int, int]] = {}


_window = _Window()


def note_read(arrays: Iterable[Array], between: int = 0) -> None:
    """Count arrays that are about to be read; give back what was read before when there is enough of it.

    `between` is how many bytes of the same files are read beside the arrays, between the first and the last of them.
    """
    window = _window
    if window.size > WINDOW_BYTES and _ADVICE is not None:
        for mapped, address, first, last in window.read.values():
            start = (first - address) // _AROUND * _AROUND
            end = min(-(-(last - address) // _AROUND) * _AROUND, len(mapped))
            mapped.madvise(_ADVICE, start, end - start)
        window.read.clear()
        window.size = 0
    for array in arrays:
        source = _map_of(array)
        if source is not None:
            window.size += array.nbytes + between
            between = 0
            first = array.__array_interface__["data"][0]
            last = first + array.nbytes
            known = window.read.get(id(source))
            if known is None:
                window.read[id(source)] = (source, np.frombuffer(source, np.uint8).ctypes.data, first, last)
            else:
                window.read[id(source)] = (*known[:2], min(first, known[2]), max(last, known[3]))


def _map_of(array: Array) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of, or None."""
    base: Any = array.base
    while base is not None:
        if isinstance(base, memoryview):
            return base.obj if isinstance(base.obj, mmap.mmap) else None
        if isinstance(base, mmap.mmap):
            return base
        base = getattr(base, "base", None)
    return None
