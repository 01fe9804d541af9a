"""Checkpoints of MindSpore as a trace: `.ckpt`, as `mindspore.save_checkpoint` writes it.

A file is one protocol-buffer message, a repeated `Value` of a name and a tensor: dimensions, the name of the type, the
numbers as bytes. A tensor is a view of the mapped file; one that was split into several values of its name is joined when it
is read. A scalar has the one dimension 0. Behind the last value a checksum may stand, which begins with a `c`.

Limits: encrypted files are not read; other types than numpy's and bfloat16 are told as not read.

Source: https://github.com/mindspore-ai/mindspore/blob/v2.3.1/mindspore/ccsrc/utils/checkpoint.proto
"""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, beside, place
from parity.trace.files import Files
from parity.trace.names import open_inside
from parity.trace.records import checked_size
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT"]

SUFFIX: Final = ".ckpt"
_TYPES: Final = {
    "Float64": "float64", "Float32": "float32", "Float16": "float16", "BFloat16": "bfloat16", "Int64": "int64",
    "Int32": "int32", "Int16": "int16", "Int8": "int8", "UInt64": "uint64", "UInt32": "uint32", "UInt16": "uint16",
    "UInt8": "uint8", "Bool": "bool", "Complex64": "complex64", "Complex128": "complex128",
}  # fmt: skip
_VALUE = _NAME = _PACKED_DIMENSIONS = 0x0A
_TENSOR = _TYPE = 0x12
_CONTENT: Final = 0x1A
_DIMENSION: Final = 0x08
_CHECKSUM: Final = ord("c")
_MORE: Final = 0x80
_MOST_BITS: Final = 64
_MOST_VALUES: Final = 1 << 20
_LONGEST_NAME: Final = 4096


class _Part(NamedTuple):
    """One value: what it says of a tensor, and where a part of the tensor's bytes lies in the file."""

    name: str
    type: str
    dimensions: tuple[int, ...]
    start: int
    end: int


@dataclass
class _Cursor:
    """A place in a file that is walked through, and where the walk ends.

    Each method raises ValueError where the file ends before, or holds something else.
    """

    data: mmap.mmap
    at: int
    end: int

    def key(self) -> int:
        """Return the byte here, and go on."""
        if self.at >= self.end:
            message = f"it is cut off at byte {self.at}"
            raise ValueError(message)
        self.at += 1
        return self.data[self.at - 1]

    def expect(self, key: int) -> None:
        """Go on behind this byte."""
        found = self.key()
        if found != key:
            message = f"byte {self.at - 1} is {found:#04x}; expected {key:#04x}"
            raise ValueError(message)

    def number(self) -> int:
        """Return a number of seven bits a byte, the lowest first, and go on."""
        found = 0
        for shift in range(0, _MOST_BITS, 7):
            byte = self.key()
            found |= (byte & ~_MORE) << shift
            if byte < _MORE:
                return found
        message = f"the number before byte {self.at} has more than {_MOST_BITS} bits"
        raise ValueError(message)

    def inner(self) -> _Cursor:
        """Return what a length stands before, and go on behind it."""
        length = self.number()
        start, self.at = self.at, self.at + length
        if self.at > self.end:
            message = f"{length} bytes at byte {start} do not fit before byte {self.end}"
            raise ValueError(message)
        return _Cursor(self.data, start, self.at)

    def text(self) -> str:
        """Return a text that a length stands before, and go on."""
        found = self.inner()
        if found.end - found.at > _LONGEST_NAME:
            message = f"the name at byte {found.at} has {found.end - found.at} bytes"
            raise ValueError(message)
        return self.data[found.at : found.end].decode()


def _parts(file: _Cursor) -> Iterator[_Part]:
    """Yield the values of a file.

    Raises:
        ValueError: it is no checkpoint.
    """
    for _ in range(_MOST_VALUES):
        if file.at == file.end or file.data[file.at] == _CHECKSUM:
            return
        file.expect(_VALUE)
        value = file.inner()
        value.expect(_NAME)
        name = value.text()
        value.expect(_TENSOR)
        yield _part(name, value.inner())
    message = f"it has more than {_MOST_VALUES} values"
    raise ValueError(message)


def _part(name: str, tensor: _Cursor) -> _Part:
    """Return what a value says of its tensor.

    Raises:
        ValueError: it says anything that is not known.
    """
    dimensions: list[int] = []
    kind = ""
    while tensor.at < tensor.end:
        key = tensor.key()
        if key == _DIMENSION:
            dimensions.append(tensor.number())
        elif key == _PACKED_DIMENSIONS:
            packed = tensor.inner()
            while packed.at < packed.end:
                dimensions.append(packed.number())
        elif key == _TYPE:
            kind = tensor.text()
        elif key == _CONTENT:
            content = tensor.inner()
            return _Part(name, kind, tuple(dimensions), content.at, content.end)
        else:
            message = f"{name!r:.80} has a part {key:#04x} that is not known"
            raise ValueError(message)
    return _Part(name, kind, tuple(dimensions), tensor.end, tensor.end)


def read_checkpoints(folder: Path, files: Sequence[str]) -> Dump:
    """Make the records of all tensors in these files.

    Raises:
        TraceError: one is no checkpoint, is damaged, or holds nothing.
    """
    reader = _Reader(folder)
    for file in files:
        reader.read(file)
    if not reader.records and not reader.unread:
        message = f"{folder / files[0]} holds no tensor"
        raise TraceError(message)
    return Dump(
        folder=folder,
        records=reader.records,
        tensors=Files(folder, one_tensor_each=False, opener=reader.joined),
        ordered=False,
        tool="mindspore",
        framework="mindspore",
        unread=reader.unread,
    )


FORMAT: Final = Format(
    name="mindspore", suffix=SUFFIX, asked=7, read=read_checkpoints, found_by=".ckpt files of MindSpore", alone=True
)


@dataclass
class _Reader:
    """Reads files of one folder: `records`, and in `unread` the tensors of types that are not read."""

    folder: Path
    records: list[Record] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    _pieces: dict[tuple[str, str], Sequence[_Part]] = field(default_factory=dict)

    def read(self, name: str) -> None:
        """Make the records of one file.

        Raises:
            TraceError: it is no checkpoint, or is damaged.
        """
        found: dict[str, list[_Part]] = {}
        descriptor = open_inside(self.folder, name)
        try:
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
                for part in _parts(_Cursor(data, 0, len(data))):
                    found.setdefault(part.name, []).append(part)
        except (OSError, ValueError) as error:
            message = f"{self.folder / name} is no checkpoint of MindSpore, nor of torch.save: {error!s:.300}"
            raise TraceError(message) from error
        finally:
            os.close(descriptor)
        for tensor, pieces in found.items():
            self._add(name, tensor, pieces)

    def _add(self, file: str, tensor: str, pieces: Sequence[_Part]) -> None:
        """Make the record of one tensor.

        Raises:
            TraceError: its bytes are not those of its shape.
        """
        first = pieces[0]
        where = f"{self.folder / file}"
        if first.type not in _TYPES:
            self.unread[f"{file}: {tensor}"] = f"is {first.type!r:.80}; read are {', '.join(_TYPES)}"
            return
        size = sum(piece.end - piece.start for piece in pieces)
        shape = first.dimensions
        if shape == (0,) and size:
            shape = ()
        address, stage = place(beside(file, tensor))
        record = Record(
            address=address, stage=stage, shape=shape, dtype=_TYPES[first.type], shard=file, native=f"{file}/{tensor}"
        )
        needed = checked_size(record, where)
        if size != needed or {piece[:3] for piece in pieces} != {first[:3]}:
            message = f"{where} is damaged: {tensor!r} has {size} bytes; its shape {list(shape)} needs {needed}"
            raise TraceError(message)
        if len(pieces) == 1 and size:
            record = msgspec.structs.replace(record, offset=first.start)
        self._pieces[file, tensor] = pieces
        self.records.append(record)

    def joined(self, record: Record, files: Files) -> NDArray[Any]:
        """Return a tensor that was split, its parts end to end.

        Raises:
            TraceError: the file has become shorter since.
        """
        file = record.file
        data = files.content(file)
        pieces = self._pieces[file, record.name_in_file]
        content = b"".join(data[piece.start : piece.end] for piece in pieces)
        kind = storage(record.dtype)
        if len(content) != kind.itemsize * math.prod(record.shape):
            message = f"{self.folder / file} has {len(data)} bytes; {record.address!r} ends at byte {pieces[-1].end}"
            raise TraceError(message)
        return np.frombuffer(content, kind).reshape(record.shape)
