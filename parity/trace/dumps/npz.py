"""`.npz` files as a trace: one file of `numpy.savez` or `numpy.savez_compressed`, or a folder of them.

Such a file is a zip archive whose members are `.npy` files. A member's name without that ending is its address if it
is one, percent-encoded or not, else a path: `7_out` is `7_out:output`. A single array that was saved without a name is called
like its file. The order is that of the members, files in the natural order of their names.

A member that is stored plainly is a view of the mapped archive. A compressed one is unpacked whole whenever it is read
and checked against its sum, so it has to fit into memory. How large that may be follows from the member's own header,
from what deflate can do at most, and from the machine: an archive that claims more is refused when it is opened.

Limits: objects are never unpickled; these, encrypted members and other kinds of compression are told as not read.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import msgspec

from parity.dtypes import storage
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, beside, place
from parity.trace.dumps.plain import SUFFIX as MEMBER
from parity.trace.dumps.plain import told_of_bfloat16, type_of
from parity.trace.dumps.zipped import start_of
from parity.trace.files import Files
from parity.trace.names import open_inside
from parity.trace.npy import array_of, read_header
from parity.trace.records import checked_size
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT"]

SUFFIX: Final = ".npz"
UNNAMED: Final = "arr_0"
"""What numpy calls the first array that was saved without a name."""

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DENSEST: Final = 1032
"""How many bytes deflate makes of one at most."""

_DAMAGED: Final = (
    zipfile.BadZipFile, struct.error, zlib.error, NotImplementedError, EOFError, OSError, OverflowError, RuntimeError,
    ValueError,
)  # fmt: skip
"""What the standard library raises on archives that are none."""


class _Member(NamedTuple):
    """Where the bytes of a member lie in its archive, and what has to come out of them."""

    archive: str
    start: int
    packed_bytes: int
    size_bytes: int
    deflated: bool
    checksum: int


def read_npz(folder: Path, files: Sequence[str]) -> Dump:
    """Make the records of all tensors in these archives.

    Raises:
        TraceError: one is no archive, is damaged, or holds nothing.
    """
    archives = _Archives(folder)
    records: list[Record] = []
    for file in files:
        records += archives.records(file)
    if not records and not archives.unread:
        message = f"{folder / files[0]} holds no tensor"
        raise TraceError(message)
    tensors = Files(folder, one_tensor_each=len(records) <= len(files), opener=archives.unpacked)
    return Dump(
        folder=folder,
        records=records,
        tensors=tensors,
        ordered=False,
        tool="numpy",
        unread=archives.unread,
        notes=told_of_bfloat16(records),
    )


FORMAT: Final = Format(name=SUFFIX, suffix=SUFFIX, asked=5, read=read_npz, found_by=".npz files", alone=True)


class _Archives:
    """The archives of a folder; remembers where members lie, so that none is searched again for each tensor."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet."""
        self._folder = folder
        self._members: dict[str | None, _Member] = {}
        self.unread: dict[str, str] = {}

    def records(self, name: str) -> list[Record]:
        """Return the records of one archive; a member that is no tensor is noted as not read.

        Raises:
            TraceError: it is none, or is damaged.
        """
        with os.fdopen(open_inside(self._folder, name), "rb") as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    _check_whole(archive, os.fstat(file.fileno()).st_size)
                    return self._tensors(name, archive, file)
            except _DAMAGED as error:
                message = f"{self._folder / name} is no archive of numpy.savez, or is damaged: {error!s:.300}"
                raise TraceError(message) from error

    def _tensors(self, name: str, archive: zipfile.ZipFile, file: BinaryIO) -> list[Record]:
        """Return the records of an open archive."""
        entries = archive.infolist()
        found: list[Record] = []
        for entry in entries:
            is_alone = len(entries) == 1 and entry.filename == f"{UNNAMED}{MEMBER}"
            try:
                found.append(self._record(name, archive, file, entry, has_name=not is_alone))
            except TraceError as error:
                where = f"{self._folder / name}: {entry.filename!r}"
                self.unread[f"{name}: {entry.filename}"] = str(error).removeprefix(where).strip(": ")
        return found

    def _record(
        self, name: str, archive: zipfile.ZipFile, file: BinaryIO, entry: zipfile.ZipInfo, *, has_name: bool
    ) -> Record:
        """Return the record of one member and note where it lies."""
        where = f"{self._folder / name}: {entry.filename!r}"
        if not entry.filename.endswith(MEMBER):
            message = f"{where} is no .npy file; numpy.savez writes no other"
            raise TraceError(message)
        if entry.compress_type not in _METHODS:
            message = f"{where} is packed by the method {entry.compress_type}; numpy.savez_compressed deflates"
            raise TraceError(message)
        with archive.open(entry) as opened:
            kind, shape, fortran, header = read_header(opened, where)
        tensor = entry.filename.removesuffix(MEMBER)
        address, stage = place(beside(name, tensor) if has_name else name.removesuffix(SUFFIX))
        record = Record(
            address=address,
            stage=stage,
            shape=shape,
            dtype=type_of(kind, where),
            shard=name,
            native=f"{name}/{tensor}" if has_name else name,
        )
        _check_size(entry, header + checked_size(record, where), where)
        member = _Member(
            archive=name,
            start=start_of(file, entry),
            packed_bytes=entry.compress_size,
            size_bytes=entry.file_size,
            deflated=entry.compress_type == zipfile.ZIP_DEFLATED,
            checksum=entry.CRC,
        )
        self._members[record.native] = member
        if member.deflated or fortran or kind != storage(record.dtype) or 0 in shape:
            return record
        return msgspec.structs.replace(record, offset=member.start + header)

    def unpacked(self, record: Record, files: Files) -> NDArray[Any]:
        """Return a tensor that is no plain view of its archive.

        Raises:
            TraceError: its bytes are not those that were packed.
        """
        member = self._members[record.native]
        where = f"{self._folder / member.archive}: {record.address!r}"
        data = files.content(member.archive)[member.start : member.start + member.packed_bytes]
        if member.deflated:
            data = _inflated(data, member.size_bytes, where)
        if zlib.crc32(data) != member.checksum:
            message = (
                f"{where} is damaged: its bytes have the sum {zlib.crc32(data):08x}; expected {member.checksum:08x}"
            )
            raise TraceError(message)
        return array_of(data, record, where)


def _check_whole(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse members that lie over each other: each would be unpacked again.

    Raises:
        BadZipFile: they have more bytes together than the file.
    """
    packed = sum(entry.compress_size for entry in archive.infolist())
    if packed > size:
        message = f"its members have {packed} bytes together and the file {size}"
        raise zipfile.BadZipFile(message)


def _check_size(entry: zipfile.ZipInfo, needed: int, where: str) -> None:
    """Refuse a member that is not as large as its header says, or larger than it can be.

    Raises:
        TraceError: it is so.
    """
    if entry.file_size != needed:
        message = f"{where} has {entry.file_size} bytes; its header says {needed}"
        raise TraceError(message)
    if entry.file_size > _DENSEST * entry.compress_size:
        message = f"{where} claims {entry.file_size} bytes packed into {entry.compress_size}; deflate cannot do that"
        raise TraceError(message)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size > memory:
        message = (
            f"{where} unpacks to {entry.file_size} bytes, and this machine has {memory}; save it with numpy.savez, "
            f"which packs nothing"
        )
        raise TraceError(message)


def _inflated(data: bytes, size: int, where: str) -> bytes:
    """Return what a deflated member holds, or refuse it where that is not `size` bytes."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = engine.decompress(data, size + 1)
    except (zlib.error, MemoryError) as error:
        message = f"{where} cannot be unpacked: {error or 'out of memory'}"
        raise TraceError(message) from error
    if len(content) != size or not engine.eof:
        message = f"{where} is damaged: it does not unpack to {size} bytes"
        raise TraceError(message)
    return content
