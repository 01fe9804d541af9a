"""Tensors as they were recorded: their bytes are compared with their digests when they are first read.

Whoever reads does it, in his thread: a comparison, a replay that is given recorded inputs, a diagnosis, a picture of the
report. What two records share is compared once. A large tensor is read a stretch at a time (`parity.trace.digests`), so
memory stays bounded; many small ones that are read end to end are compared where they lie. Who reads all of a large one
anyway, stretch by stretch, borrows it: its digest is worked out of each stretch while that is in the cache, which costs a
third of reading it once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.distance.tensor import Tensor
from parity.errors import TraceError
from parity.trace.digests import RunningMark, mark, marks
from parity.trace.files import Borrowed, Tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.schema import Record

__all__ = ["Intact"]


class _Unchecked(Borrowed):
    """A tensor whose digest is worked out of the stretches that are heard, or of all of it where some are not."""

    def __init__(self, tensor: Tensor, record: Record, owner: Intact) -> None:
        """Begin before the first stretch."""
        super().__init__(tensor)
        self._record = record
        self._owner = owner
        self._seen = RunningMark(record.dtype, record.shape)

    def see(self, stretch: NDArray[Any]) -> None:
        """Hear the next elements."""
        self._seen.update(stretch)

    def settle(self) -> None:
        """Compare; TraceError where the bytes are not the recorded ones."""
        found = mark(*self.tensor) if self._seen.missing else self._seen.hexdigest()
        self._owner.settle(self._record, found)


class Intact(Tensors):
    """The tensors of a recorded run, every one of whose records has a digest. Safe in several threads."""

    def __init__(self, tensors: Tensors, folder: Path) -> None:
        """Wrap what reads the files of a run's folder; nothing is read yet."""
        self._tensors = tensors
        self._folder = folder
        self._intact: set[tuple[object, ...]] = set()
        # Of small tensors every record is compared: that costs less than to look for others of the same bytes. A record
        # that is kept keeps its identity.
        self._small: dict[int, Record] = {}

    def read(self, record: Record) -> NDArray[Any]:
        """Return the elements of a tensor's record.

        Raises:
            TraceError: they cannot be read, or are not the recorded ones.
        """
        array = self._tensors.read(record)
        if self._key(record) not in self._intact:
            self.settle(record, mark(array, record.dtype))
        return array

    def joined(self, records: Sequence[Record], sizes: NDArray[np.intp]) -> NDArray[Any]:
        """Return the elements of small tensors of one type, none empty, end to end.

        Raises:
            TraceError: as `read`.
        """
        flat = self._tensors.joined(records, sizes)
        numbers = list(map(id, records))
        if not all(map(self._small.__contains__, numbers)):
            ends = (np.cumsum(sizes) * flat.itemsize).tolist()
            found = marks(flat, records[0].dtype, [record.shape for record in records], ends)
            if found != [record.digest for record in records]:
                for record, each in zip(records, found, strict=True):
                    self._compare(record, each)
            self._small.update(zip(numbers, records, strict=True))
        return flat

    def borrow(self, record: Record) -> Borrowed:
        """Return a tensor that is compared with its digest once it is settled.

        Raises:
            TraceError: its elements cannot be read.
        """
        tensor = Tensor(self._tensors.read(record), record.dtype)
        if self._key(record) in self._intact:
            return Borrowed(tensor)
        return _Unchecked(tensor, record, self)

    def settle(self, record: Record, found: str) -> None:
        """Note that a tensor is the recorded one.

        Raises:
            TraceError: it has another digest.
        """
        self._compare(record, found)
        self._intact.add(self._key(record))

    @staticmethod
    def _key(record: Record) -> tuple[object, ...]:
        """Return what two records share that stand for the same bytes of the same tensor."""
        return record.shard, record.offset, record.digest, record.dtype, record.shape

    def _compare(self, record: Record, found: str) -> None:
        """Refuse bytes that have another digest than the recorded ones."""
        if found != record.digest:
            message = (
                f"{self._folder / record.file}: {record.address!r} is damaged or was changed: its bytes have digest "
                f"{found}; expected {record.digest}; `parity verify {self._folder.parent}` reads all of the trace, a whole "
                "copy or a new recording repairs it"
            )
            raise TraceError(message)
