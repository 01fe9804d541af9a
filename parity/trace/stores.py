"""The two stores of a trace: what writes their shards, and what reads them.

h5py takes longer to import than a small comparison runs. So only those load it that record into HDF5, or read a record
that has no offset in a shard of it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from parity.trace.files import Files
from parity.trace.npy import NpyShard, npy_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.hdf5 import Hdf5Shard
    from parity.trace.schema import Record, Store

__all__ = ["files_of", "shards_of"]


def shards_of(store: Store) -> type[Hdf5Shard | NpyShard]:
    """Return what writes a shard."""
    if store == "npy":
        return NpyShard
    from parity.trace.hdf5 import Hdf5Shard

    return Hdf5Shard


def files_of(store: Store, folder: Path, records: Sequence[Record]) -> Files:
    """Return what reads the tensors of a run."""
    return npy_files(folder) if store == "npy" else _hdf5_files(folder, records)


def _hdf5_files(folder: Path, records: Sequence[Record]) -> Files:
    """Return what reads HDF5 shards: at the offset that a record has, else through the library."""

    @cache
    def holders() -> dict[tuple[str | None, str], str]:
        """The address under which a shard holds the bytes of a digest: the first one."""
        return {(each.shard, each.digest): each.address for each in reversed(records)}

    def opener(record: Record, files: Files) -> NDArray[Any]:
        del files  # the library opens the shard by itself
        from parity.trace.hdf5 import read_dataset

        return read_dataset(folder, record, holders()[record.shard, record.digest])

    return Files(folder, one_tensor_each=False, opener=opener)
