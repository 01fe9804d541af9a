"""safetensors files as a trace: one file, or a folder with several.

Such a file is eight bytes that give the length of a JSON header, the header, and the tensors' bytes; the header
names each tensor with type, shape and place. So a tensor is a view of the mapped file, bfloat16 included. A
tensor's name is its address if it is one, else a path: `unet.conv_in.weight` is `unet.conv_in.weight:output`.
The order is the natural order of the names. Tensors of types that numpy has no name for are told as not read.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, beside, place
from parity.trace.files import Files
from parity.trace.names import natural, open_inside
from parity.trace.records import checked_size
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["FORMAT"]

SUFFIX: Final = ".safetensors"
_LONGEST_HEADER: Final = 100_000_000
_METADATA: Final = "__metadata__"
_TYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64",
}  # fmt: skip


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_safetensors(folder: Path, files: Sequence[str]) -> Dump:
    """Make the records of all tensors in these files of a folder.

    Raises:
        TraceError: one is no safetensors file, is damaged, or holds nothing.
    """
    records: list[Record] = []
    unread: dict[str, str] = {}
    for file in files:
        for tensor, found in _tensors(folder, file):
            if isinstance(found, str):
                unread[f"{file}: {tensor}"] = found
            else:
                records.append(found)
    if not records and not unread:
        message = f"{folder / files[0]} holds no tensor"
        raise TraceError(message)
    return Dump(
        folder=folder,
        records=sorted(records, key=_by_name),
        tensors=Files(folder, one_tensor_each=False),
        ordered=False,
        tool="safetensors",
        unread=unread,
    )


FORMAT: Final = Format(
    name="safetensors", suffix=SUFFIX, asked=4, read=read_safetensors, found_by=".safetensors files", alone=True
)


def _by_name(record: Record) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Return the natural order of a tensor's folder and name."""
    folder, _, _ = (record.shard or "").rpartition("/")
    return natural(folder), natural(record.native or "")


def _tensors(folder: Path, name: str) -> Iterator[tuple[str, Record | str]]:
    """Yield the name of each tensor of one file, and its record, or why it is not read."""
    where = f"{folder / name}"
    with os.fdopen(open_inside(folder, name), "rb") as file:
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
        if entry.dtype in _TYPES:
            yield tensor, _record(name, where, tensor, entry, 8 + length, size)
        else:
            yield tensor, f"is {entry.dtype}; read are {', '.join(_TYPES)}"


def _record(name: str, where: str, tensor: str, entry: _Entry, start: int, size: int) -> Record:
    """Return the record of one tensor; the tensors' bytes begin at `start` of the file."""
    address, stage = place(beside(name, tensor))
    record = Record(
        address=address,
        stage=stage,
        shape=entry.shape,
        dtype=_TYPES[entry.dtype],
        shard=name,
        native=tensor,
    )
    needed = checked_size(record, where)
    first, end = entry.data_offsets
    if not 0 <= first <= end <= size - start or end - first != needed:
        message = (
            f"{where}: {tensor!r} lies at bytes {first} to {end} of {size - start}; its shape {list(entry.shape)} "
            f"needs {needed}"
        )
        raise TraceError(message)
    return msgspec.structs.replace(record, offset=start + first if needed else None)
