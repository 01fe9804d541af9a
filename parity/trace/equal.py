"""Which files that no side of a comparison reads are the same on all of them, byte for byte."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final

from parity.errors import TraceError
from parity.trace.names import open_inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parity.trace.reader import Trace

__all__ = ["unread_and_equal"]

_READ: Final = 1 << 20


def unread_and_equal(first: Trace, others: Sequence[Trace]) -> list[str]:
    """Return what traces do not read and all of them have, in files of the same bytes; nothing for one trace alone."""
    if not others:
        return []
    equal = list(first.unread)
    for other in others:
        on_both = filter(other.unread.__contains__, equal)
        equal = [name for name in on_both if _is_equal(first.folder, other.folder, name)]
    return equal


def _is_equal(first: Path, second: Path, name: str) -> bool:
    """Tell whether two folders have the same regular file of this name, or the file that this is a part of."""
    file = name.partition(": ")[0]
    try:
        with os.fdopen(open_inside(first, file), "rb") as one, os.fdopen(open_inside(second, file), "rb") as other:
            return _same_content(one, other)
    except (TraceError, OSError):
        return False


def _same_content(one: IO[bytes], other: IO[bytes]) -> bool:
    """Tell whether two files are equal; neither is held in memory."""
    if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
        return False
    while piece := one.read(_READ):
        if piece != other.read(len(piece)):
            return False
    return True
