"""Tensors as they were recorded: their bytes are compared with their digests when they are first read.

Whoever reads does it, in his thread: a comparison, a replay that is given recorded inputs, a diagnosis, a picture of the
report. What two records share is compared once. A large tensor is read a stretch at a time (`parity.trace.digests`), so
memory stays bounded; many small ones that are read end to end are compared where they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import TraceError
from parity.trace.digests import mark, marks
from parity.trace.files import Tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.schema import Record

__all__ = ["Intact"]


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
        bytes_of = record.shard, record.offset, record.digest, record.dtype, record.shape
        if bytes_of not in self._intact:
            self._compare(record, mark(array, record.dtype))
            self._intact.add(bytes_of)
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

    def _compare(self, record: Record, found: str) -> None:
        """Refuse bytes that have another digest than the recorded ones."""
        if found != record.digest:
            message = (
                f"{self._folder / (record.shard or '')}: {record.address!r} is damaged or was changed: its bytes have digest "
                f"{found}; expected {record.digest}; `parity verify {self._folder.parent}` reads all of the trace, a whole "
                "copy or a new recording repairs it"
            )
            raise TraceError(message)
