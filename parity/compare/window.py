"""Bounded memory over mapped files: pages that were read are given back after a while.

A mapped page counts as memory of the process from its first read to its release, so a comparison of two
traces of 100 GB would grow to 200 GB. Each thread counts what it reads and, every 32 MiB, tells the system
that it needs none of it any more; what is read again comes from the page cache.
"""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parity.compare.tensor import Array

__all__ = ["WINDOW_BYTES", "note_read"]

WINDOW_BYTES: Final = 32 << 20

_ADVICE: Final[int | None] = getattr(mmap, "MADV_DONTNEED", None)


class _Window(threading.local):
    """What this thread has read since it last gave back."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.size = 0
        self.maps: dict[int, mmap.mmap] = {}


_window = _Window()


def note_read(arrays: Iterable[Array]) -> None:
    """Count arrays that are about to be read; give back what was read before when there is enough of it."""
    window = _window
    if window.size > WINDOW_BYTES and _ADVICE is not None:
        for mapped in window.maps.values():
            mapped.madvise(_ADVICE)
        window.maps.clear()
        window.size = 0
    for array in arrays:
        source = _map_of(array)
        if source is not None:
            window.size += array.nbytes
            window.maps[id(source)] = source


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
