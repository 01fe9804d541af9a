"""Memory for copies of large tensors, used again once they are written.

Fresh memory costs more than the copy into it: the system hands it out page by page, zeroed. Buffers come in
sizes of two to the n and half more, so that a few serve tensors of many shapes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Buffers"]

_SMALLEST: Final = 1 << 18


class Buffers:
    """Buffers that wait to be used again, of `limit_bytes` in all."""

    def __init__(self, limit_bytes: int) -> None:
        """Begin with none."""
        self._limit = limit_bytes
        self._kept = 0
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()

    def copy(self, array: NDArray[Any], kind: np.dtype[np.generic]) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Return a copy in C order of the type `kind`, and the buffer to give back if it lies in one."""
        if array.nbytes < _SMALLEST:
            return np.array(array, dtype=kind, order="C"), None
        buffer = self._take(array.nbytes)
        copied = buffer[: array.nbytes].view(kind).reshape(array.shape)
        np.copyto(copied, array)
        return copied, buffer

    def give(self, buffer: NDArray[np.uint8]) -> None:
        """Take a buffer back."""
        with self._lock:
            if self._kept + buffer.nbytes <= self._limit:
                self._kept += buffer.nbytes
                self._free.setdefault(buffer.nbytes, []).append(buffer)

    def _take(self, size: int) -> NDArray[np.uint8]:
        """Return a buffer of at least `size` bytes."""
        half = 1 << (size - 1).bit_length() - 1
        rounded = half + half // 2 if size <= half + half // 2 else 2 * half
        with self._lock:
            waiting = self._free.get(rounded)
            if waiting:
                self._kept -= rounded
                return waiting.pop()
        return np.empty(rounded, np.uint8)
