"""Reading one run: records first, tensors as views of the mapped shards.

records.jsonl is the authority: it says where in which file a tensor's bytes begin, so a tensor is a view of
the mapped file and costs no copy. Where a record has no offset the bytes are read through h5py or the `.npy`
header. Arrays are read-only, little endian, in their storage type (bfloat16 as uint16).
"""

from __future__ import annotations

import math
import mmap
import os
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xxhash

from parity.dtypes import storage, widen
from parity.errors import AddressError, TraceError, nearest
from parity.trace.digests import digest
from parity.trace.names import open_inside, sizes_inside
from parity.trace.npy import read_header
from parity.trace.records import checked_size, decode, restored_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.address import Address
    from parity.trace.schema import Record, RunInfo

__all__ = ["RunReader"]

_SMALL_FILE: Final = 1 << 16
_ONE_TENSOR: Final = (".npy", ".pt")  # a file of its own for each tensor: too many to keep them all mapped
_EXACT_INTEGER: Final = 2**53


class RunReader:
    """A recorded run. Iterating yields addresses in order of completion; safe to use from several threads."""

    def __init__(self, folder: Path, name: str, info: RunInfo, records: list[Record]) -> None:
        """Wrap checked records; `Trace` makes these."""
        self.name = name
        self.info = info
        self.records = records
        self._folder = folder
        self._by_address = {record.address: record for record in records}
        self._mapped: dict[str, mmap.mmap] = {}
        self._numbers: dict[tuple[str, str], NDArray[Any]] = {}  # a mapped shard as numbers of one type
        self._parents: set[str] = set()

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    def __iter__(self) -> Iterator[str]:
        """Yield addresses in order of completion."""
        return iter(self._by_address)

    def __contains__(self, address: object) -> bool:
        """Tell whether the address is recorded."""
        return str(address) in self._by_address

    def find(self, address: str) -> Record | None:
        """Return the record of an address, or None."""
        return self._by_address.get(address)

    def record(self, address: str | Address) -> Record:
        """Return the record of an address.

        Raises:
            AddressError: there is none.
        """
        text = str(address)
        found = self.find(text)
        if found is None:
            hint = nearest(text, self._by_address)
            message = f"{self._folder}: no record of {text!r}{hint}; the run has {len(self)} records"
            raise AddressError(message)
        return found

    def value(self, address: str | Address) -> Any:
        """Return a recorded value that is no tensor.

        Raises:
            AddressError: the address is not recorded.
            TraceError: a tensor is recorded there.
        """
        record = self.record(address)
        if record.kind != "value":
            message = f"{self._folder}: {record.address!r} is a {record.dtype} tensor; read it with tensor()"
            raise TraceError(message)
        return restored_value(record.value)

    def tensor(self, address: str | Address, *, check: bool = False) -> NDArray[Any]:
        """Return a tensor in its storage type; with `check` its bytes are compared with its digest.

        Raises:
            AddressError: the address is not recorded.
            TraceError: a plain value is recorded there, or the bytes cannot be read or are not the recorded ones.
        """
        record = self._by_address.get(address) if type(address) is str else None
        if record is None:
            record = self.record(address)
        if record.kind != "tensor":
            message = f"{self._folder}: {record.address!r} is the value {record.value!r}; read it with value()"
            raise TraceError(message)
        array = self._read(record)
        if check and record.digest and digest(array, record.dtype) != record.digest:
            message = (
                f"{self._folder / (record.shard or '')}: {record.address!r} is damaged: its bytes have digest "
                f"{digest(array, record.dtype)}; expected {record.digest}"
            )
            raise TraceError(message)
        return array

    def wide(self, address: str | Address) -> NDArray[Any]:
        """Return a tensor as float64, exactly.

        Raises:
            AddressError: the address is not recorded.
            TraceError: as `tensor`, or the tensor has no exact float64 form.
        """
        array = self.tensor(address)
        record = self.record(address)
        large = (
            record.dtype in {"int64", "uint64"} and array.size and max(array.max(), -int(array.min())) > _EXACT_INTEGER
        )
        if array.dtype.kind == "c" or large:
            message = (
                f"{self._folder}: {record.address!r} is {record.dtype} without an exact float64 form; use tensor()"
            )
            raise TraceError(message)
        return widen(array, record.dtype)

    def flat(self, records: Sequence[Record], sizes: NDArray[np.intp]) -> NDArray[Any]:
        """Return the elements of tensors of one type, none empty, end to end; `sizes` says how many each has.

        Raises:
            TraceError: the bytes of one cannot be read.
        """
        shard, dtype = records[0].shard or "", records[0].dtype
        offsets = [record.offset for record in records if record.shard == shard and record.offset is not None]
        numbers = self._numbers.get((shard, dtype))
        if numbers is not None and len(offsets) == len(records):
            starts, rests = np.divmod(np.array(offsets), numbers.itemsize)
            ends = starts + sizes
            if not rests.any() and ends.max() <= numbers.size:
                pieces = zip(starts.tolist(), ends.tolist(), strict=True)
                return np.concatenate([numbers[start:end] for start, end in pieces])
        return np.concatenate([self.tensor(record.address).reshape(-1) for record in records])

    @cached_property
    def _holders(self) -> dict[tuple[str, str], str]:
        """The address under which a shard holds the bytes of a digest: the first one."""
        return {(each.shard or "", each.digest): each.address for each in reversed(self.records)}

    def _read(self, record: Record) -> NDArray[Any]:
        """Return the elements of a tensor's record."""
        shape = record.shape
        count = math.prod(shape)
        if count == 0:
            empty = np.empty(shape, storage(record.dtype))
            empty.flags.writeable = False
            return empty
        if record.offset is None:
            return self._read_without_offset(record)
        shard = record.shard or ""
        numbers = self._numbers.get((shard, record.dtype))
        if numbers is None:
            numbers = self._as_numbers(shard, record.dtype)
        start, rest = divmod(record.offset, numbers.itemsize)
        if rest or start + count > numbers.size:
            return self._read_unaligned(record, count)
        flat = numbers[start : start + count]
        return flat if len(shape) == 1 else flat.reshape(shape)

    def _as_numbers(self, shard: str, dtype: str) -> NDArray[Any]:
        """Return a whole file of the run as numbers of a type, its last bytes left out if they are none."""
        kind = storage(dtype)
        data = self._bytes(shard)
        numbers = np.frombuffer(data, kind, len(data) // kind.itemsize)
        if shard in self._mapped:
            self._numbers[shard, dtype] = numbers
        return numbers

    def _read_unaligned(self, record: Record, count: int) -> NDArray[Any]:
        """Read numbers that do not begin at a multiple of their width, or say where the file ends."""
        data = self._bytes(record.shard or "")
        kind = storage(record.dtype)
        offset = record.offset or 0
        end = offset + count * kind.itemsize
        if end > len(data):
            where = self._folder / (record.shard or "")
            message = f"{where} has {len(data)} bytes; {record.address!r} ends at byte {end}"
            raise TraceError(message)
        return np.frombuffer(data, kind, count, offset).reshape(record.shape)

    def _bytes(self, shard: str) -> mmap.mmap | bytes:
        """Return the content of a file of the run: mapped, or read where it is small."""
        found = self._mapped.get(shard)
        if found is not None:
            return found
        descriptor = open_inside(self._folder, shard, self._parents)
        try:
            size = os.fstat(descriptor).st_size
            own_file = shard.endswith(_ONE_TENSOR)
            if own_file and size <= _SMALL_FILE:
                return os.read(descriptor, size)
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            message = f"{self._folder / shard} cannot be read: {error}"
            raise TraceError(message) from error
        finally:
            os.close(descriptor)
        if not own_file:
            self._mapped[shard] = mapped
        return mapped

    def _read_without_offset(self, record: Record) -> NDArray[Any]:
        """Read through h5py, or by the header of a `.npy` file."""
        shard = record.shard or ""
        if shard.endswith(".npy"):
            array = self._read_npy(record)
        else:
            from parity.trace.hdf5 import read_dataset  # a comparison rarely needs h5py, which takes long to import

            array = read_dataset(self._folder, record, self._holders[shard, record.digest])
        array.flags.writeable = False
        return array

    def _read_npy(self, record: Record) -> NDArray[Any]:
        """Read a `.npy` file whose elements begin where its header says."""
        shard = record.shard or ""
        where = f"{self._folder}/{shard}: {record.address!r}"
        data = self._bytes(shard)
        kind, shape, fortran, offset = read_header(BytesIO(data) if isinstance(data, bytes) else data, where)
        if shape != record.shape or kind.newbyteorder("<") != storage(record.dtype):
            message = f"{where} is {kind}{list(shape)}; expected {storage(record.dtype)}{list(record.shape)}"
            raise TraceError(message)
        count = record_count(record)
        if offset + count * kind.itemsize > len(data):
            message = f"{where} ends at byte {offset + count * kind.itemsize}; the file has {len(data)}"
            raise TraceError(message)
        array = np.frombuffer(data, kind, count, offset).reshape(shape, order="F" if fortran else "C")
        return np.asarray(array, dtype=storage(record.dtype), order="C")


def record_count(record: Record) -> int:
    """Return the number of elements."""
    return checked_size(record, record.address) // storage(record.dtype).itemsize


def read_records(folder: Path, info: RunInfo) -> list[Record]:
    """Read records.jsonl and check it against the run's entry in the manifest and the sizes of its shards.

    Raises:
        TraceError: it is damaged, is not what the manifest says, or points outside its shards.
    """
    path = folder / "records.jsonl"
    with os.fdopen(open_inside(folder, "records.jsonl"), "rb") as file:
        data = file.read()
    if not info.complete:
        data = data[: data.rfind(b"\n") + 1]
    elif info.records_digest and xxhash.xxh3_128_hexdigest(data) != info.records_digest:
        message = f"{path} is damaged: its digest is {xxhash.xxh3_128_hexdigest(data)}; expected {info.records_digest}"
        raise TraceError(message)
    records = decode(data, str(path))
    if info.complete and info.records != len(records):
        message = f"{path} has {len(records)} records; expected {info.records}"
        raise TraceError(message)
    sizes = sizes_inside(folder, {record.shard for record in records if record.shard is not None})
    for record in records:
        if record.shard is None or record.offset is None:
            continue
        end = record.offset + checked_size(record, str(path))
        if end > sizes[record.shard]:
            message = f"{folder / record.shard} has {sizes[record.shard]} bytes; {record.address!r} ends at byte {end}"
            raise TraceError(message)
    return records
