"""The file under a shard, as HDF5 sees it.

HDF5 cannot be told that the disk is full: a file that fails to close leaves the library unable to end. So it
writes through this object, which keeps the first error to itself and swallows what comes after; the shard asks
for the error and gives up in good order. Neighbouring writes are joined, as the library's own driver does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ShardFile"]

_BUFFER_BYTES: Final = 1 << 16


class ShardFile:
    """A new file, written by HDF5 (the file-object methods) and, for the tensors' bytes, by `put`."""

    def __init__(self, path: Path) -> None:
        """Create the file; OSError where that fails or it is there."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._error: OSError | None = None
        self._discard = False
        self._position = 0
        self._start = 0
        self._buffer = bytearray()

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def put(self, data: memoryview, offset: int) -> None:
        """Write bytes at an offset that HDF5 has allocated and does not write to itself."""
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def discard(self) -> None:
        """Write nothing from now on."""
        self._discard = True

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._spill()
        self.check()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        if whence == os.SEEK_END:
            self._spill()
            offset += os.fstat(self._descriptor).st_size
        self._position = offset
        return offset

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: memoryview) -> int:
        """Write at the position."""
        if self._position != self._start + len(self._buffer) or len(self._buffer) > _BUFFER_BYTES:
            self._spill()
            self._start = self._position
        self._buffer += data
        self._position += len(data)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        """Read at the position; HDF5 asks for metadata that it no longer holds."""
        self._spill()
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def truncate(self, size: int) -> int:
        """Set the size of the file."""
        self._spill()
        if not self._discard:
            try:
                os.ftruncate(self._descriptor, size)
            except OSError as error:
                self._fail(error)
        return size

    def flush(self) -> None:
        """Write what is joined so far."""
        self._spill()

    def _spill(self) -> None:
        """Write the joined bytes."""
        if self._buffer and not self._discard:
            try:
                self.put(memoryview(bytes(self._buffer)), self._start)
            except OSError as error:
                self._fail(error)
        self._buffer.clear()

    def _fail(self, error: OSError) -> None:
        """Keep the first error and write nothing more."""
        self._error = self._error or error
        self._discard = True
