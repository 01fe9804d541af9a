"""Where a member of a zip archive lies in its file: the directory tells where its header begins, the header the rest."""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    import zipfile

__all__ = ["start_of"]

_HEADER: Final = struct.Struct("<4s22xHH")
_ENCRYPTED: Final = 1


def start_of(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Return where in the file a member's bytes begin.

    Raises:
        ValueError: it is encrypted, or its header is not where the archive says.
        struct.error: the file ends within its header.
    """
    if member.flag_bits & _ENCRYPTED:
        message = f"{member.filename} is encrypted"
        raise ValueError(message)
    file.seek(member.header_offset)
    signature, name, extra = _HEADER.unpack(file.read(_HEADER.size))
    if signature != b"PK\3\4":
        message = f"{member.filename} is not where the archive says"
        raise ValueError(message)
    return member.header_offset + _HEADER.size + int(name) + int(extra)
