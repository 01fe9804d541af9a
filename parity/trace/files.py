"""Where a run's tensors are read from: `Tensors`, and `Files`, the ordinary way, a view of a mapped file.

records.jsonl is the authority: it says where in which file a tensor's bytes begin, so a tensor is a view of
the mapped file and costs no copy. A record without an offset is read as its store or its format says: an opener
finds a HDF5 dataset, reads the header of a `.npy` file, or unpacks a part of an archive.

Who reads a format says whether one file holds one tensor. Such files are many: they are mapped anew each time, and
read where they are small. A file of many tensors stays mapped.
"""

from __future__ import annotations

import math
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from parity.distance.tensor import Tensor
from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.names import open_inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.schema import Record

__all__ = ["Borrowed", "Content", "Files", "Opener", "Tensors"]

_SMALL_FILE: Final = 1 << 16

Content: TypeAlias = mmap.mmap | bytes
"""A whole file: mapped, or read."""

Opener: TypeAlias = Callable[["Record", "Files"], "NDArray[Any]"]
"""Returns the tensor of a record without an offset; TraceError where its bytes are not what the record says."""


class Borrowed:
    """A tensor for somebody who reads all of it, a stretch at a time, and says so: what is to be checked is checked so."""

    def __init__(self, tensor: Tensor) -> None:
        """Lend a tensor of which nothing is to be checked."""
        self.tensor = tensor

    def see(self, stretch: NDArray[Any]) -> None:
        """Hear the next elements."""

    def settle(self) -> None:
        """End the check, of what was not heard too; TraceError where it fails."""


class Tensors(ABC):
    """The tensors of a run by their records.

    Arrays are little endian, in C order and in their storage type (bfloat16 as uint16), and must not be written to.
    """

    @abstractmethod
    def read(self, record: Record) -> NDArray[Any]:
        """Return the elements of a tensor's record; TraceError where they cannot be read. Safe in several threads."""

    def borrow(self, record: Record) -> Borrowed:
        """Return a tensor whose check, where it has one, may wait until it has been read."""
        return Borrowed(Tensor(self.read(record), record.dtype))

    def joined(self, records: Sequence[Record], sizes: NDArray[np.intp]) -> NDArray[Any]:
        """Return the elements of tensors of one type, none empty, end to end; `sizes` says how many each has."""
        del sizes
        return np.concatenate([self.read(record).reshape(-1) for record in records])


class Files(Tensors):
    """Files of one folder."""

    def __init__(self, folder: Path, *, one_tensor_each: bool, opener: Opener | None = None) -> None:
        """Open nothing yet.

        Args:
            folder: The folder that the records' files are relative to.
            one_tensor_each: Whether a file holds one tensor, so that there are too many files to keep them mapped.
            opener: How a tensor is read whose record has no offset.
        """
        self._folder = folder
        self._one_tensor_each = one_tensor_each
        self._opener = opener or _refuse
        self._mapped: dict[str, mmap.mmap] = {}
        self._numbers: dict[tuple[str, str], NDArray[Any]] = {}  # a mapped file as numbers of one type
        self._parents: set[str] = set()

    def read(self, record: Record) -> NDArray[Any]:
        """Return the elements of a tensor's record.

        Raises:
            TraceError: its file cannot be read or ends before them.
        """
        shape = record.shape
        count = math.prod(shape)
        if count == 0:
            return _read_only(np.empty(shape, storage(record.dtype)))
        if record.offset is None:
            return _read_only(self._opener(record, self))
        shard = record.shard or ""
        numbers = self._numbers.get((shard, record.dtype))
        if numbers is None:
            numbers = self._as_numbers(shard, record.dtype)
        start, rest = divmod(record.offset, numbers.itemsize)
        if rest or start + count > numbers.size:
            return self._read_unaligned(record, count)
        flat = numbers[start : start + count]
        return flat if len(shape) == 1 else flat.reshape(shape)

    def joined(self, records: Sequence[Record], sizes: NDArray[np.intp]) -> NDArray[Any]:
        """Return the elements end to end, cut out of one mapped file at once where they lie in one.

        Raises:
            TraceError: as `read`.
        """
        shard = records[0].shard or ""
        numbers = self._numbers.get((shard, records[0].dtype))
        offsets = [record.offset for record in records if record.shard == shard and record.offset is not None]
        if numbers is None or len(offsets) < len(records):
            return super().joined(records, sizes)
        starts, rests = np.divmod(np.array(offsets), numbers.itemsize)
        ends = starts + sizes
        if rests.any() or ends.max() > numbers.size:
            return super().joined(records, sizes)
        pieces = zip(starts.tolist(), ends.tolist(), strict=True)
        return np.concatenate([numbers[start:end] for start, end in pieces])

    def content(self, name: str) -> Content:
        """Return a file of the folder.

        Raises:
            TraceError: it leads out of the folder, is no regular file, or cannot be read.
        """
        found = self._mapped.get(name)
        if found is not None:
            return found
        descriptor = open_inside(self._folder, name, self._parents)
        try:
            size = os.fstat(descriptor).st_size
            if self._one_tensor_each and size <= _SMALL_FILE:
                return os.read(descriptor, size)
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            message = f"{self._folder / name} cannot be read: {error}"
            raise TraceError(message) from error
        finally:
            os.close(descriptor)
        if not self._one_tensor_each:
            self._mapped[name] = mapped
        return mapped

    def content_up_to(self, record: Record, end: int) -> Content:
        """Return the file of a record, whose bytes end at `end` there.

        Raises:
            TraceError: as `content`, or the file ends before.
        """
        data = self.content(record.file)
        if end > len(data):
            where = self._folder / record.file
            message = f"{where} has {len(data)} bytes; {record.address!r} ends at byte {end}"
            raise TraceError(message)
        return data

    def _as_numbers(self, shard: str, dtype: str) -> NDArray[Any]:
        """Return a whole file as numbers of a type, its last bytes left out if they are none."""
        kind = storage(dtype)
        data = self.content(shard)
        numbers = np.frombuffer(data, kind, len(data) // kind.itemsize)
        if shard in self._mapped:
            self._numbers[shard, dtype] = numbers
        return numbers

    def _read_unaligned(self, record: Record, count: int) -> NDArray[Any]:
        """Read numbers that do not begin at a multiple of their width, or say where the file ends."""
        kind = storage(record.dtype)
        offset = record.offset or 0
        data = self.content_up_to(record, offset + count * kind.itemsize)
        return np.frombuffer(data, kind, count, offset).reshape(record.shape)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that cannot be written to."""
    array.flags.writeable = False
    return array


def _refuse(record: Record, files: Files) -> NDArray[Any]:
    """Refuse a record without an offset where every record has one."""
    del files
    message = f"{record.shard}: {record.address!r} has no offset, and its format does not read such a record"
    raise TraceError(message)
