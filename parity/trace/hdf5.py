"""The HDF5 store: one shard is one file, a tensor one contiguous dataset, readable by `h5ls -r`.

A component is a group, the rest of an address the dataset's name: `unet.conv_in@step=0:output` is
`/unet/conv_in@step=0:output`. (A group for every part of the path costs a third more time to write.) A
dataset's space is allocated when it is created, so its place in the file is known at once and the bytes are
written there directly, without the library's lock. Offsets are multiples of eight.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5s, h5t

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.names import open_inside, tree_name
from parity.trace.shard_file import ShardFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.schema import Record

__all__ = ["Hdf5Shard", "read_dataset"]

_ALIGNMENT: Final = 8
_METADATA_BLOCK_BYTES: Final = 1 << 18


def _dataset_creation() -> h5p.PropDCID:
    """Return the properties of a dataset that has its space at once and is never filled."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    return properties


class Hdf5Shard:
    """A shard being written."""

    def __init__(self, folder: Path, number: int) -> None:
        """Create the file; OSError where that fails."""
        self.name = f"tensors-{number:04d}.h5"
        self._path = folder / self.name
        self._written = ShardFile(self._path)
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_alignment(1, _ALIGNMENT)
        access.set_meta_block_size(_METADATA_BLOCK_BYTES)
        access.set_fileobj_driver(h5fd.fileobj_driver, self._written)
        creation = h5p.create(h5p.FILE_CREATE)
        creation.set_file_space_strategy(strategy=h5f.FSPACE_STRATEGY_NONE, persist=False, threshold=1)
        self._file = h5f.create(os.fsencode(self._path), h5f.ACC_TRUNC, fcpl=creation, fapl=access)
        self._properties = _dataset_creation()
        self._groups: dict[str, h5g.GroupID] = {}
        self._spaces: dict[tuple[int, ...], h5s.SpaceID] = {}
        self._types: dict[str, h5t.TypeID] = {}

    def put(self, address: str, array: NDArray[Any], dtype: str) -> tuple[str, int | None]:
        """Write a tensor in its storage form; return the file that holds it and the offset in it."""
        self._written.check()
        group, name = tree_name(address)
        shape = array.shape
        if shape not in self._spaces:
            self._spaces[shape] = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
        if dtype not in self._types:
            self._types[dtype] = h5t.py_create(storage(dtype), logical=True)
        dataset = h5d.create(
            self._group(group), name.encode(), self._types[dtype], self._spaces[shape], dcpl=self._properties
        )
        if dtype == "bfloat16":
            _write_text(dataset, "dtype", dtype)
        if array.size == 0:
            return self.name, None
        offset = int(dataset.get_offset())
        self._written.put(array.reshape(-1).view(np.uint8).data, offset)
        return self.name, offset

    def link(self, address: str, first: str) -> None:
        """Give the dataset of the address `first` a further name."""
        group, name = tree_name(address)
        first_group, first_name = tree_name(first)
        self._group(group).links.create_hard(name.encode(), self._group(first_group), first_name.encode())

    def close(self) -> None:
        """Write what is pending and sync; afterwards the shard is whole."""
        self._groups.clear()
        self._file.close()
        self._written.sync()
        self._written.close()

    def abandon(self) -> None:
        """Remove the shard, whatever state it is in."""
        self._written.discard()
        self._path.unlink(missing_ok=True)
        self._groups.clear()
        self._file.close()
        self._written.close()

    def _group(self, name: str) -> h5g.GroupID:
        """Return a component's group, created when new."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = h5g.create(self._file, name.encode())
        return found


def _write_text(dataset: h5d.DatasetID, name: str, text: str) -> None:
    """Attach a fixed-length ASCII attribute."""
    kind = h5t.C_S1.copy()
    kind.set_size(len(text))
    kind.set_strpad(h5t.STR_NULLPAD)
    attribute = h5a.create(dataset, name.encode(), kind, h5s.create(h5s.SCALAR))
    attribute.write(np.array(text.encode(), dtype=f"S{len(text)}"))


def read_dataset(folder: Path, record: Record, first: str) -> NDArray[Any]:
    """Read a tensor through the library, where its record has no offset.

    Args:
        folder: The run's folder.
        record: The tensor's record.
        first: The address under which the shard holds it.

    Raises:
        TraceError: it is not there, lies behind a link that leaves the file, or is not as the record says.
    """
    shard = record.file
    os.close(open_inside(folder, shard))
    group, name = tree_name(first)
    where = f"{folder / shard}: {record.address!r}"
    try:
        with h5py.File(folder / shard, "r") as file:
            place: h5f.FileID | h5g.GroupID = file.id
            for part in (group, name):
                place = _followed(place, part, where)
            return _read_plain(place, record, where, (folder / shard).stat().st_size)
    except TraceError:
        raise
    except Exception as error:
        message = f"{where} cannot be read: {error}; expected a dataset /{group}/{name}"
        raise TraceError(message) from error


def _followed(place: h5f.FileID | h5g.GroupID, name: str, where: str) -> h5g.GroupID | h5d.DatasetID:
    """Open what a hard link names."""
    if place.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        message = f"{where} lies behind a soft or external link at {name!r}; a trace has only hard links"
        raise TraceError(message)
    return h5o.open(place, name.encode())


def _read_plain(dataset: object, record: Record, where: str, size: int) -> NDArray[Any]:
    """Read a dataset that is contiguous, inside a file of `size` bytes, and of the recorded type and shape."""
    if not isinstance(dataset, h5d.DatasetID):
        message = f"{where} is no dataset"
        raise TraceError(message)
    wanted = storage(record.dtype)
    if dataset.dtype != wanted or dataset.shape != record.shape:
        message = f"{where} is {dataset.dtype}{list(dataset.shape)}; expected {wanted}{list(record.shape)}"
        raise TraceError(message)
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5d.CONTIGUOUS or properties.get_external_count():
        message = f"{where} is not contiguous in its own file; a trace has no chunked, virtual or external datasets"
        raise TraceError(message)
    needed = wanted.itemsize * math.prod(record.shape)
    if dataset.get_storage_size() != needed or needed > size:
        message = f"{where} stores {dataset.get_storage_size()} bytes; its shape {list(record.shape)} needs others"
        raise TraceError(message)
    array = np.empty(record.shape, wanted)
    dataset.read(h5s.ALL, h5s.ALL, array)
    return array
