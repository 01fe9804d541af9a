"""Reading one run: its records, and by them its tensors.

Arrays are read-only, little endian, in their storage type (bfloat16 as uint16); `parity.trace.files` says how they
come from the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import xxhash

from parity.dtypes import widen
from parity.errors import AddressError, TraceError, nearest
from parity.reading import RECORDS_BYTES
from parity.trace.names import read_inside
from parity.trace.records import check_places, decode, restored_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from parity.address import Address
    from parity.trace.files import Borrowed, Tensors
    from parity.trace.schema import Record, RunInfo

__all__ = ["RunReader", "read_records"]

_EXACT_INTEGER: Final = 2**53


class RunReader:
    """A recorded run. Iterating yields addresses in order of completion; safe to use from several threads."""

    def __init__(self, folder: Path, name: str, info: RunInfo, records: list[Record], tensors: Tensors) -> None:
        """Wrap checked records and what reads their tensors; `Trace` makes these."""
        self.name = name
        self.info = info
        self.records = records
        self._folder = folder
        self._by_address = {record.address: record for record in records}
        self._tensors = tensors

    def with_records(self, records: list[Record], tensors: Tensors | None = None) -> RunReader:
        """Return the run under other records; `tensors` reads them where they name no bytes of this run."""
        return RunReader(self._folder, self.name, self.info, records, tensors or self._tensors)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    def __iter__(self) -> Iterator[str]:
        """Yield addresses in order of completion."""
        return iter(self._by_address)

    def __contains__(self, address: object) -> bool:
        """Tell whether the address is recorded."""
        return str(address) in self._by_address

    @property
    def output_tensors(self) -> list[str]:
        """The addresses of tensors that were returned, in order of completion."""
        return [record.address for record in self.records if record.is_output_tensor]

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

    def tensor(self, address: str | Address) -> NDArray[Any]:
        """Return a tensor in its storage type.

        Raises:
            AddressError: the address is not recorded.
            TraceError: a plain value is recorded there, or the bytes cannot be read or are not the recorded ones.
        """
        return self._tensors.read(self._tensor_record(address))

    def _tensor_record(self, address: str | Address) -> Record:
        """Return the record of a tensor."""
        record = self._by_address.get(address) if type(address) is str else None
        if record is None:
            record = self.record(address)
        if record.kind != "tensor":
            message = f"{self._folder}: {record.address!r} is the value {record.value!r}; read it with value()"
            raise TraceError(message)
        return record

    def borrow(self, address: str) -> Borrowed:
        """Return a tensor for somebody who reads all of it anyway, and settles it then; other than that as `tensor`."""
        return self._tensors.borrow(self._tensor_record(address))

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
            TraceError: the bytes of one cannot be read, or are not the recorded ones.
        """
        return self._tensors.joined(records, sizes)


def read_records(folder: Path, info: RunInfo) -> list[Record]:
    """Read records.jsonl and check it against the run's entry in the manifest and the sizes of its shards.

    Raises:
        TraceError: it is damaged, is not what the manifest says, or points outside its shards.
    """
    path = folder / "records.jsonl"
    data = read_inside(folder, "records.jsonl", RECORDS_BYTES)
    if not info.complete:
        data = data[: data.rfind(b"\n") + 1]
    elif xxhash.xxh3_128_hexdigest(data) != info.records_digest:
        message = (
            f"{path} is damaged or was changed: its digest is {xxhash.xxh3_128_hexdigest(data)}; expected "
            f"{info.records_digest or 'one in the manifest, since the run is complete'}; take a whole copy, or record it again"
        )
        raise TraceError(message)
    records = decode(data, str(path))
    if info.complete and info.records != len(records):
        message = f"{path} has {len(records)} records; expected {info.records}"
        raise TraceError(message)
    check_places(records, folder, str(path))
    return records
