"""The `.npy` store: one tensor is one file, named by its percent-encoded address, readable by `np.load`.

A shard is a batch of such files in the folder `npy`, synced together. A record names its file and where in it
the elements start, so a reader of records needs no header; `read_header` serves files without a record, and
refuses pickles and structured types.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.files import Files
from parity.trace.names import file_name
from parity.trace.records import checked_size

if TYPE_CHECKING:
    from mmap import mmap
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.files import Content
    from parity.trace.schema import Record

__all__ = ["FOLDER", "VOID_OF_TWO", "NpyShard", "array_of", "npy_files", "read_header"]

FOLDER = "npy"
# numpy publishes no types of these functions.
_FORMAT: Any = npy_format
VOID_OF_TWO = np.dtype("V2")
"""What numpy writes for bfloat16, a type that it has no name for."""

_MANY_FILES = 64
_MAGIC = 8  # bytes of the magic string and the version
_LONGEST_HEADER = 10_000  # what numpy itself reads; a compressed file may claim any length
_LENGTH = {(1, 0): 2, (2, 0): 4}  # by version: bytes of the header's length


class NpyShard:
    """A batch of `.npy` files being written."""

    def __init__(self, folder: Path, number: int) -> None:
        """Create the folder; `number` only counts the batches."""
        self.name = f"{FOLDER}#{number}"
        self._folder = folder / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._headers: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._names: list[str] = []

    def put(self, address: str, array: NDArray[Any], dtype: str) -> tuple[str, int | None]:
        """Write a tensor in its storage form; return the file that holds it and the offset in it."""
        header = self._headers.get((dtype, array.shape))
        if header is None:
            header = self._headers[dtype, array.shape] = _header(array.shape, dtype)
        name, descriptor = self._create(address)
        try:
            _write_all(descriptor, header, array.reshape(-1).view(np.uint8).data if array.size else memoryview(b""))
        finally:
            os.close(descriptor)
        return f"{FOLDER}/{name}", len(header) if array.size else None

    def _create(self, address: str) -> tuple[str, int]:
        """Create the file of an address; a file system that ignores case may have its name already."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        name = file_name(address)
        try:
            descriptor = os.open(f"{self._folder}/{name}", flags, 0o666)
        except FileExistsError:
            name = file_name(address, always_digest=True)
            descriptor = os.open(f"{self._folder}/{name}", flags, 0o666)
        self._names.append(name)
        return name, descriptor

    def link(self, address: str, first: str) -> None:
        """Do nothing: a further address of the same bytes stands in records.jsonl alone."""

    def close(self) -> None:
        """Sync every file of the batch and their folder."""
        if len(self._names) > _MANY_FILES:
            os.sync()
        else:
            for name in self._names:
                _sync(self._folder / name)
        _sync(self._folder)

    def abandon(self) -> None:
        """Remove the files of the batch."""
        for name in self._names:
            (self._folder / name).unlink(missing_ok=True)


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the bytes before the elements."""
    buffer = BytesIO()
    content = {"descr": _FORMAT.dtype_to_descr(storage(dtype)), "fortran_order": False, "shape": shape}
    _FORMAT.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _write_all(descriptor: int, header: bytes, data: memoryview) -> None:
    """Write both parts, however many calls that takes."""
    written = os.writev(descriptor, [header, data])
    rest = data[max(0, written - len(header)) :]
    if written < len(header):
        os.write(descriptor, header[written:])
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def npy_files(folder: Path) -> Files:
    """Return what reads the tensors of `.npy` files: at their records' offsets, else where their headers say."""

    def opener(record: Record, files: Files) -> NDArray[Any]:
        shard = record.file
        return array_of(files.content(shard), record, f"{folder}/{shard}: {record.address!r}")

    return Files(folder, one_tensor_each=True, opener=opener)


def array_of(data: Content, record: Record, where: str) -> NDArray[Any]:
    """Return the elements in a whole `.npy` file, as its header says.

    Raises:
        TraceError: it is no `.npy` file or is not what the record says.
    """
    kind, shape, fortran, offset = read_header(BytesIO(data) if isinstance(data, bytes) else data, where)
    wanted = storage(record.dtype)
    if kind == VOID_OF_TWO:
        kind = np.dtype("<u2")
    if shape != record.shape or kind.newbyteorder("<") != wanted:
        message = f"{where} is {kind}{list(shape)}; expected {wanted}{list(record.shape)}"
        raise TraceError(message)
    end = offset + checked_size(record, record.address)
    if end > len(data):
        message = f"{where} ends at byte {end}; the file has {len(data)}"
        raise TraceError(message)
    count = math.prod(shape)
    array = np.frombuffer(data, kind, count, offset).reshape(shape, order="F" if fortran else "C")
    return np.asarray(array, dtype=wanted, order="C")


def read_header(file: IO[bytes] | mmap, where: str) -> tuple[np.dtype[np.generic], tuple[int, ...], bool, int]:
    """Return type, shape, whether in Fortran order, and the offset of the elements.

    Raises:
        TraceError: the file is no `.npy`, is damaged, or holds objects or structures.
    """
    try:
        version = _FORMAT.read_magic(file)
        if version not in _LENGTH:
            message = f"its format is {version[0]}.{version[1]}; expected 1.0 or 2.0"
            raise ValueError(message)  # noqa: TRY301 - it joins what numpy finds wrong
        length = file.read(_LENGTH[version])
        header = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
        shape, fortran, dtype = _parsed(version, length + header)
    except Exception as error:
        message = f"{where} is no .npy file: {error}"
        raise TraceError(message) from error
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        message = f"{where} holds {dtype}, which is no plain type; objects are never unpickled"
        raise TraceError(message)
    return dtype, shape, fortran, _MAGIC + len(length) + len(header)


@lru_cache(maxsize=256)
def _parsed(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, Fortran order and type; folders hold the same few headers many times."""
    parse = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[np.generic]] = parse(BytesIO(header))
    return found
