"""safetensors files as a trace: one file, or a folder with several.

Such a file is eight bytes that give the length of a JSON header, the header, and the tensors' bytes; the header
names each tensor with type, shape and place. So a tensor is a view of the mapped file, bfloat16 included. A
tensor's name is its address if it is one, else a path: `unet.conv_in.weight` is `unet.conv_in.weight:output`.
The order is the natural order of the names. float8 is read as float16, which is exact; other types that numpy has no name
for are told as not read, and so is what an index (`model.safetensors.index.json`) names and no file holds.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from parity import reading
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, beside, place
from parity.trace.dumps.float8 import WIDENED, widened
from parity.trace.files import Files
from parity.trace.names import natural, open_inside, read_inside
from parity.trace.records import checked_size
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT"]

SUFFIX: Final = ".safetensors"
_INDEX: Final = ".safetensors.index.json"
_LONGEST_HEADER: Final = 100_000_000
_METADATA: Final = "__metadata__"
_TYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64",
}  # fmt: skip
_PACKED: Final = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""Types that numpy has no name for."""

_READ: Final = _TYPES | dict.fromkeys(_PACKED, WIDENED)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct, frozen=True):
    """The index of a checkpoint in several files: the file of each tensor."""

    weight_map: dict[str, str]


def read_safetensors(folder: Path, files: Sequence[str]) -> Dump:
    """Make the records of all tensors in these files of a folder, and hold them against the indexes among them.

    Raises:
        TraceError: one is no safetensors file, is damaged, or holds nothing.
    """
    reader = _Reader(folder)
    indexes = [file for file in files if file.endswith(_INDEX)]
    for file in filterfalse(indexes.__contains__, files):
        reader.read(file)
    for file in indexes:
        reader.check(file)
    if not reader.records and not reader.unread:
        message = f"{folder / files[0]} holds no tensor"
        raise TraceError(message)
    notes = []
    if reader.packed:
        notes.append(f"float8 is read as {WIDENED}, which is exact: {len(reader.packed)} tensors")
    return Dump(
        folder=folder,
        records=sorted(reader.records, key=_by_name),
        tensors=Files(folder, one_tensor_each=False, opener=reader.opened),
        ordered=False,
        tool="safetensors",
        unread=reader.unread,
        known=indexes,
        notes=tuple(notes),
    )


FORMAT: Final = Format(
    name="safetensors",
    suffix=(SUFFIX, _INDEX),
    asked=4,
    read=read_safetensors,
    found_by=".safetensors files",
    alone=True,
)


def _by_name(record: Record) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Return the natural order of a tensor's folder and name."""
    folder, _, _ = record.file.rpartition("/")
    return natural(folder), natural(record.native or "")


@dataclass
class _Reader:
    """Reads files of one folder.

    Attributes:
        records: What was read so far.
        unread: What is in the files and was not, or is named by an index and not there.
        packed: Tensors whose type numpy lacks: type and first byte, by file and name.
    """

    folder: Path
    records: list[Record] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    packed: dict[tuple[str | None, str | None], tuple[str, int]] = field(default_factory=dict)

    def read(self, name: str) -> None:
        """Make the records of one file.

        Raises:
            TraceError: it is no safetensors file, or is damaged.
        """
        where = f"{self.folder / name}"
        with os.fdopen(open_inside(self.folder, name), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = os.fstat(file.fileno()).st_size
            if length > min(_LONGEST_HEADER, size - 8):
                message = f"{where} is no safetensors file: it has {size} bytes and its header would have {length}"
                raise TraceError(message)
            text = file.read(length)
        try:
            header = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            header.pop(_METADATA, None)
            entries = {tensor: msgspec.json.decode(raw, type=_Entry) for tensor, raw in header.items()}
        except (ValueError, RecursionError) as error:
            message = f"{where} is no safetensors file: its header is damaged ({error})"
            raise TraceError(message) from error
        for tensor, entry in entries.items():
            if entry.dtype in _READ:
                self.records.append(self._record(name, tensor, entry, 8 + length, size))
            else:
                self.unread[f"{name}: {tensor}"] = f"is {entry.dtype}; read are {', '.join(_READ)}"
        _check_covered([entry.data_offsets for entry in entries.values()], size - 8 - length, where)

    def _record(self, name: str, tensor: str, entry: _Entry, start: int, size: int) -> Record:
        """Return the record of one tensor; the tensors' bytes begin at `start` of the file."""
        where = f"{self.folder / name}"
        address, stage = place(beside(name, tensor))
        record = Record(
            address=address,
            stage=stage,
            shape=entry.shape,
            dtype=_READ[entry.dtype],
            shard=name,
            native=tensor,
        )
        packed = _PACKED.get(entry.dtype)
        needed = checked_size(record, where)
        if packed is not None:  # one byte each
            needed = math.prod(entry.shape)
        first, end = entry.data_offsets
        if not 0 <= first <= end <= size - start or end - first != needed:
            message = (
                f"{where}: {tensor!r} lies at bytes {first} to {end} of {size - start}; its shape {list(entry.shape)} "
                f"needs {needed}"
            )
            raise TraceError(message)
        if packed is not None:
            self.packed[name, tensor] = packed, start + first
            return record
        if not needed:
            return record
        return msgspec.structs.replace(record, offset=start + first)

    def opened(self, record: Record, files: Files) -> NDArray[Any]:
        """Return a tensor whose type numpy lacks, in a wider one.

        Raises:
            TraceError: the file has become shorter since.
        """
        dtype, start = self.packed[record.shard, record.native]
        count = math.prod(record.shape)
        data = files.content_up_to(record, start + count)
        return widened(np.frombuffer(data, np.uint8, count, start).reshape(record.shape), dtype)

    def check(self, index: str) -> None:
        """Note what an index names and no file of its folder holds.

        Raises:
            TraceError: it is no index.
        """
        try:
            named = reading.json(read_inside(self.folder, index, _LONGEST_HEADER), _Index).weight_map
        except ValueError as error:
            message = f"{self.folder / index} is no index of safetensors files: {error}"
            raise TraceError(message) from error
        held = {(record.shard, record.native) for record in self.records}
        files = {shard for shard, _ in held}
        for tensor, file in named.items():
            shard = beside(index, file)
            if shard not in files:
                self.unread[f"{index}: {file}"] = "is named there and holds nothing that was read"
            elif (shard, tensor) not in held and f"{shard}: {tensor}" not in self.unread:
                self.unread[f"{index}: {tensor}"] = f"is not in {file}, as is said there"


def _check_covered(places: Sequence[tuple[int, int]], size: int, where: str) -> None:
    """Refuse bytes that belong to no tensor, or to two: the format has none, and nobody would read them.

    Raises:
        TraceError: there are some.
    """
    reached = 0
    for first, end in sorted(places):
        if first != reached:
            whose = "two tensors" if first < reached else "no tensor"
            message = f"{where} is damaged: bytes {min(first, reached)} to {max(first, reached)} belong to {whose}"
            raise TraceError(message)
        reached = end
    if reached != size:
        message = f"{where} is damaged: it has {size} bytes of tensors; its header names {reached}"
        raise TraceError(message)
