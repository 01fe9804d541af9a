"""Files of `torch.save` as a trace, without unpickling them: `.pt`, `.pth`, `.bin`, `.ckpt`.

Such a file is an uncompressed zip archive: `data.pkl`, a pickle that names storages, shapes and strides, and `data/0` and so
on, the bytes (`parity.trace.dumps.pickled` reads the pickle). A file of one tensor is named like the file. One of dictionaries
and lists has the keys in the names, `model.conv_in.weight`, but for a `state_dict` on top, which is only a wrapping; its
numbers are values of the trace. A tensor that lies in C order is a view of the mapped file.

Limits: archives in the form of torch before 1.6 and compiled programs are not read, and of objects of other classes nothing
is made: these are told as not read. Texts in a file are passed over.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Self

import msgspec
import numpy as np

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, beside, count_of, place
from parity.trace.dumps.float8 import FLOAT8, WIDENED, widened
from parity.trace.dumps.pickled import Tensor, Unknown, interpreted, leaves, shown
from parity.trace.dumps.zipped import start_of
from parity.trace.files import Files
from parity.trace.names import open_inside
from parity.trace.records import checked_size, plain_value
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.files import Content

__all__ = ["FORMAT", "Layout", "read_layout"]

_SUFFIXES: Final = (".pt", ".pth", ".bin", ".ckpt")
_ZIP: Final = b"PK\3\4"
_OLD: Final = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The pickled number that a file of torch before 1.6 begins with."""

_ONE_TENSOR: Final = 1 << 16
_LONGEST_PICKLE: Final = 1 << 24
_LARGEST_COPY: Final = 1 << 30
_LARGEST_NUMBER: Final = 1 << 63
_WRAPPING: Final = "state_dict."
_DAMAGED: Final = (
    zipfile.BadZipFile, struct.error, ValueError, KeyError, IndexError, TypeError, OSError, EOFError, NotImplementedError,
    OverflowError, RuntimeError,
)  # fmt: skip
"""What the standard library raises on archives and pickles that are none."""


class Layout(NamedTuple):
    """A tensor as it lies in a file; `offset` is that of its first byte."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class _Place(NamedTuple):
    """Where the storage of a tensor lies in its file, and the tensor in the storage."""

    start: int
    size: int
    tensor: Tensor


def read_layout(file: BinaryIO, where: str) -> Layout:
    """Return type, shape and the offset in `file` of a tensor's bytes.

    Raises:
        TraceError: the file is none of `torch.save`, or holds anything but one contiguous tensor.
    """
    try:
        with _Archive(file, _ONE_TENSOR) as archive:
            return _layout(archive)
    except _DAMAGED as error:
        message = f"{where} cannot be read as one tensor of torch.save: {error!s:.300}"
        raise TraceError(message) from error


def _layout(archive: _Archive) -> Layout:
    """Return type, shape and offset of the only tensor of an archive.

    Raises:
        ValueError: it holds anything else.
    """
    tensor = archive.content
    if isinstance(tensor, Unknown):
        raise TypeError(tensor.reason)
    if not isinstance(tensor, Tensor):
        message = f"it holds {shown(tensor)}, which is no tensor"
        raise TypeError(message)
    found = archive.place(tensor)
    if not _contiguous(tensor):
        message = f"shape {list(tensor.shape)}, strides {list(tensor.strides)} is no contiguous tensor; save it contiguous and unsliced"
        raise ValueError(message)
    item = _item_size(tensor.storage.dtype)
    return Layout(tensor.storage.dtype, tensor.shape, found.start + tensor.offset * item)


class _Archive:
    """An open file of `torch.save`."""

    def __init__(self, file: BinaryIO, longest_pickle: int) -> None:
        """Read its directory and its pickle.

        Raises:
            ValueError: it is none.
        """
        self._file = file
        self._archive = zipfile.ZipFile(file)
        self._entries = {entry.filename: entry for entry in self._archive.infolist()}
        self._starts: dict[str, int] = {}
        pickles = [name for name in self._entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            message = f"it has {len(pickles)} entries data.pkl; expected one"
            raise ValueError(message)
        self._root = pickles[0].removesuffix("data.pkl")
        order = self._entries.get(f"{self._root}byteorder")
        if order is not None and self._small(order, _ONE_TENSOR) != b"little":
            message = "its bytes are not little endian"
            raise ValueError(message)
        self.content = interpreted(self._small(self._entries[pickles[0]], longest_pickle))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the directory; the file is its owner's."""
        self._archive.close()

    def _small(self, entry: zipfile.ZipInfo, most: int) -> bytes:
        """Return the bytes of a small entry."""
        if entry.file_size > most or entry.compress_type != zipfile.ZIP_STORED:
            message = f"{entry.filename} has {entry.file_size} bytes, or is compressed; expected one small entry, of at most {most}"
            raise ValueError(message)
        return self._archive.read(entry)

    def place(self, tensor: Tensor) -> _Place:
        """Return where a tensor lies.

        Raises:
            ValueError: its type is not read, or it does not lie in its storage.
            KeyError: there is no such storage.
        """
        dtype, key = tensor.storage
        item = _item_size(dtype)
        name = f"{self._root}data/{key}"
        entry = self._entries[name]
        if name not in self._starts:
            self._starts[name] = self._start(entry)
        last = tensor.offset + sum(
            (length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        is_inside = 0 in tensor.shape or (last + 1) * item <= entry.file_size
        if not is_inside:
            message = (
                f"shape {list(tensor.shape)}, strides {list(tensor.strides)} at element {tensor.offset} is no contiguous or "
                f"strided {dtype} tensor of a storage of {entry.file_size} bytes"
            )
            raise ValueError(message)
        if not _contiguous(tensor) and math.prod(tensor.shape) * item > max(entry.file_size, _LARGEST_COPY):
            message = f"shape {list(tensor.shape)} repeats a storage of {entry.file_size} bytes; save it contiguous"
            raise ValueError(message)
        return _Place(self._starts[name], entry.file_size, tensor)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Return where in the file an entry's bytes begin, which torch.save never compresses."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            message = f"{entry.filename} is compressed or encrypted; torch.save stores plainly"
            raise ValueError(message)
        start = start_of(self._file, entry)
        if start + entry.file_size > os.fstat(self._file.fileno()).st_size:
            message = f"{entry.filename} ends beyond the file"
            raise ValueError(message)
        return start


def _item_size(dtype: str) -> int:
    """Return the bytes of an element.

    Raises:
        ValueError: tensors of this type are not read.
    """
    if dtype in FLOAT8:
        return 1
    return storage(dtype).itemsize


def _contiguous(tensor: Tensor) -> bool:
    """Tell whether the elements lie in C order without gaps; the stride of a single element may be any."""
    if 0 in tensor.shape:
        return True
    step = 1
    for length, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if length > 1 and stride != step:
            return False
        step *= length
    return True


def read_torch(folder: Path, files: Sequence[str]) -> Dump | None:
    """Make the records of all tensors and numbers in these files; None where none of them is a zip archive.

    Raises:
        TraceError: one is no file of torch.save, is damaged, or holds nothing.
    """
    reader = _Reader(folder)
    mine = [file for file in files if reader.is_mine(file)]
    if not mine:
        return None
    for file in mine:
        reader.read(file)
    tensors = sum(record.kind == "tensor" for record in reader.records)
    passed_over = dict.fromkeys(reader.texts)
    return Dump(
        folder=folder,
        records=reader.records,
        tensors=Files(folder, one_tensor_each=tensors <= len(mine), opener=reader.opened),
        ordered=False,
        tool="torch",
        unread=reader.unread,
        known=mine,
        notes=_notes(list(passed_over), wide=reader.wide),
    )


FORMAT: Final = Format(
    name=".pt",
    suffix=_SUFFIXES,
    asked=6,
    read=read_torch,
    found_by="files of torch.save (.pt, .pth, .bin, .ckpt)",
    alone=True,
)


def _notes(texts: Sequence[str], *, wide: int) -> tuple[str, ...]:
    """Return what is to be said of the files."""
    notes = []
    if texts:
        notes.append(f"passed over, since they are no numbers: {count_of(texts)}")
    if wide:
        notes.append(f"float8 is read as float16, which is exact: {wide} tensors")
    return tuple(notes)


@dataclass
class _Reader:
    """Reads files of torch.save in one folder.

    Attributes:
        records: What was read so far.
        unread: What is in them and was not.
        texts: The keys of what is neither tensor nor number.
        wide: How many tensors are read in a wider type.
    """

    folder: Path
    records: list[Record] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    wide: int = 0
    _places: dict[str | None, _Place] = field(default_factory=dict)

    def is_mine(self, file: str) -> bool:
        """Tell whether a file is to be read here: a `.ckpt` that is no archive is of another program."""
        if not file.endswith(".ckpt"):
            return True
        with os.fdopen(open_inside(self.folder, file), "rb") as opened:
            return opened.read(len(_ZIP)) == _ZIP

    def read(self, file: str) -> None:
        """Make the records of one file.

        Raises:
            TraceError: it is none of torch.save, is damaged, or holds nothing.
        """
        where = f"{self.folder / file}"
        with os.fdopen(open_inside(self.folder, file), "rb") as opened:
            try:
                _check_zip(opened)
                with _Archive(opened, _LONGEST_PICKLE) as archive:
                    for name, value in leaves(archive.content):
                        self._add(archive, file, name, value)
            except _DAMAGED as error:
                message = f"{where} cannot be read as a file of torch.save: {error!s:.300}"
                raise TraceError(message) from error

    def _add(self, archive: _Archive, file: str, name: str, value: Any) -> None:
        """Make the record of one value, or note why there is none."""
        own = name.removeprefix(_WRAPPING)
        native, path, told = file, file.rpartition(".")[0], file
        if own:
            native, path, told = f"{file}/{own}", beside(file, own), f"{file}: {own}"
        address, stage = place(path)
        record = Record(address=address, stage=stage, shard=file, native=native)
        if isinstance(value, Tensor):
            self._add_tensor(archive, record, value, told)
        elif isinstance(value, Unknown):
            self.unread[told] = value.reason
        elif _is_number(value):
            self.records.append(msgspec.structs.replace(record, kind="value", value=plain_value(value)))
        elif isinstance(value, int):
            self.unread[told] = "is no number of 64 bits"
        else:
            self.texts.append(told)

    def _add_tensor(self, archive: _Archive, record: Record, tensor: Tensor, told: str) -> None:
        """Make the record of a tensor, which is `told` so where it cannot be."""
        try:
            found = archive.place(tensor)
            made = _record(record, found)
            checked_size(made, f"{self.folder / record.file}")
        except (ValueError, KeyError) as error:
            self.unread[told] = f"cannot be read: {error!s:.300}"
            return
        self._places[record.native] = found
        self.records.append(made)
        self.wide += tensor.storage.dtype in FLOAT8

    def opened(self, record: Record, files: Files) -> NDArray[Any]:
        """Return a tensor that does not lie in C order, or whose type numpy lacks.

        Raises:
            TraceError: the file has become shorter since.
        """
        place = self._places[record.native]
        data = files.content_up_to(record, place.start + place.size)
        dtype = place.tensor.storage.dtype
        if dtype in FLOAT8:
            return widened(_elements(data, np.dtype(np.uint8), place), dtype)
        return _elements(data, storage(dtype), place)


def _elements(data: Content, kind: np.dtype[Any], place: _Place) -> NDArray[Any]:
    """Return the elements of a tensor in C order, out of the file that holds its storage."""
    tensor = place.tensor
    count = place.size // kind.itemsize
    whole = np.frombuffer(data, kind, count, place.start)[tensor.offset :]
    steps = [stride * kind.itemsize for stride in tensor.strides]
    laid = np.lib.stride_tricks.as_strided(whole, tensor.shape, steps)
    return np.ascontiguousarray(laid).reshape(tensor.shape)


def _check_zip(file: BinaryIO) -> None:
    """Refuse what is no zip archive.

    Raises:
        ValueError: it is none.
    """
    start = file.read(len(_OLD))
    if start == _OLD:
        message = "it has the form of torch before 1.6; load it with torch and save it again"
        raise ValueError(message)
    if not start.startswith(_ZIP):
        message = "it is no zip archive"
        raise ValueError(message)


def _record(named: Record, place: _Place) -> Record:
    """Return the record of a tensor, with an offset where it is a plain view of its file."""
    tensor = place.tensor
    dtype, shape = tensor.storage.dtype, tensor.shape
    if dtype in FLOAT8:
        return msgspec.structs.replace(named, shape=shape, dtype=WIDENED)
    offset = None
    if _contiguous(tensor) and 0 not in shape:
        offset = place.start + tensor.offset * _item_size(dtype)
    return msgspec.structs.replace(named, shape=shape, dtype=dtype, offset=offset)


def _is_number(value: object) -> bool:
    """Tell whether something is a number of at most 64 bits, or a truth value."""
    if isinstance(value, int):
        return abs(value) < _LARGEST_NUMBER
    return isinstance(value, float)
