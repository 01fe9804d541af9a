"""The standard streams, each of which may be closed, full, or left by its reader.

A reader that has seen enough (`parity compare … | head -1`) changes nothing: what is written then is dropped, and the
exit code still says the verdict. A stream that was closed takes what is written and drops it; nothing that is opened later
gets its number.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["finish", "install"]

_STREAMS: Final = {"stdout": 1, "stderr": 2}


class _Outlet(io.FileIO):
    """A standard stream that never fails: after its first error, which is kept, what is written is dropped."""

    error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write, or drop, all of the data."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)


class _Stream(io.TextIOWrapper):
    """The text of an outlet, which stays open: a module of the user's that closes it takes no error and no verdict with it."""

    def close(self) -> None:
        """Write what is left."""
        self.flush()


def install() -> None:
    """Put the outlets in the place of the streams, unless someone else has put theirs there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
    for name, number in _STREAMS.items():
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _opened(number, stream))


def _opened(number: int, before: TextIO | None) -> TextIO:
    """Return an outlet for a descriptor, in the encoding of the stream before it."""
    encoding = "utf-8" if before is None else before.encoding
    outlet: io.RawIOBase = _Outlet(number, "w", closefd=False)
    by_line = number == _STREAMS["stderr"] or outlet.isatty()
    # What an encoding lacks is written by its number: no name of anyone's file ends a command.
    return _Stream(io.BufferedWriter(outlet), encoding, "backslashreplace", line_buffering=by_line)


def finish() -> OSError | None:
    """Write what is left; return why stdout took not all of it, unless its reader has left."""
    for name in _STREAMS:
        getattr(sys, name).flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Outlet) else None
    return None if isinstance(error, BrokenPipeError) else error
