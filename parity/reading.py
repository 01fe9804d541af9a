"""Reading files that anybody may have written: regular ones alone, of a size and a depth that their kind can have.

A name may stand for a pipe that never ends, a file may be larger than the memory, and brackets may nest until Python gives
up. Each kind of file has its bound here, many times what real use needs; what is beyond it is refused before it is parsed.

    >>> json(b'{"a": [1, 2]}', dict)
    {'a': [1, 2]}
    >>> check_depth([[[]]])
    >>> check_depth({"a": eval("[" * 90 + "]" * 90)})
    Traceback (most recent call last):
    ValueError: it is nested more than 64 deep

Everything here raises `OSError` where a file cannot be read and `ValueError` where its content is of another kind; callers
add which file it is and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

__all__ = [
    "CASE_BYTES",
    "DEPTH",
    "DUMP_BYTES",
    "FAULT_BYTES",
    "MANIFEST_BYTES",
    "MAPPING_BYTES",
    "RECORDS_BYTES",
    "REPAIR_BYTES",
    "RESULT_BYTES",
    "TOLERANCES_BYTES",
    "check_depth",
    "check_model",
    "check_regular",
    "content",
    "json",
    "open_regular",
    "parsed_toml",
    "read_bounded",
    "toml",
]

T = TypeVar("T")

_MEBIBYTE: Final = 1 << 20

CASE_BYTES: Final = _MEBIBYTE
TOLERANCES_BYTES: Final = 4 * _MEBIBYTE
MAPPING_BYTES: Final = 16 * _MEBIBYTE
REPAIR_BYTES: Final = 16 * _MEBIBYTE
FAULT_BYTES: Final = _MEBIBYTE
MANIFEST_BYTES: Final = 256 * _MEBIBYTE
RECORDS_BYTES: Final = 2048 * _MEBIBYTE
"""One run; a record takes 300 to 400 bytes, so 450,000 of them need a twelfth of it."""

RESULT_BYTES: Final = 2048 * _MEBIBYTE
DUMP_BYTES: Final = 1024 * _MEBIBYTE
"""dump.json of msprobe."""

DEPTH: Final = 64
"""How deep lists and tables may nest where their content is free: a case, provenance, attributes, a recorded value."""

_KEY_PARTS: Final = 64
_PART: Final = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_LONG_KEY: Final = re.compile(rf"(?<![A-Za-z0-9_-]){_PART}(?:\.[ \t]*+{_PART}){{{_KEY_PARTS}}}")


def check_regular(mode: int) -> None:
    """Refuse what is no regular file, by its status.

    Raises:
        OSError: it is a folder, a pipe, a device or a socket.
    """
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symbolic link",
    }
    raise OSError(errno.EINVAL, f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, and no regular file")


def check_model(path: Path) -> None:
    """Refuse what can be neither a file of weights nor a folder with some; what is not there is the caller's to say.

    Raises:
        OSError: it is a pipe, a device or a socket, and whoever reads it would wait.
    """
    if path.exists() and not path.is_dir():
        check_regular(path.stat().st_mode)


def open_regular(path: str | Path) -> int:
    """Open a regular file for reading and return its descriptor; nothing else is even opened, so that nothing waits.

    Raises:
        OSError: it is not there, cannot be opened, or is no regular file.
    """
    check_regular(Path(path).stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_bounded(descriptor: int, most: int) -> bytes:
    """Return the content of an open file, as long as it is now, and close it.

    Raises:
        OSError: it cannot be read, or has more than `most` bytes.
    """
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size} bytes; a file of its kind has at most {most}")
        return file.read(size)


def content(path: str | Path, most: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: it is none, cannot be read, or has more than `most` bytes.
    """
    return read_bounded(open_regular(path), most)


def toml(path: str | Path, most: int) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        OSError: as `content`.
        ValueError: it is no TOML, no UTF-8, or nested without end.
    """
    return parsed_toml(content(path, most).decode())


def parsed_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: as `toml`.
    """
    # The parser takes a time that grows with the square of a key's parts.
    if _LONG_KEY.search(text):
        message = f"a key has more than {_KEY_PARTS} parts"
        raise ValueError(message)
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    check_depth(found)
    return found


def json(data: bytes, kind: type[T]) -> T:
    """Return what a JSON text says, as a type of msgspec.

    Raises:
        ValueError: it is no JSON, of another type, has a number that Python does not read, or is nested without end.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def check_depth(value: object) -> None:
    """Refuse lists and tables that nest deeper than anybody means; whoever walks through them needs no bound of its own.

    Raises:
        ValueError: they do.
    """
    level = [value]
    for _ in range(DEPTH + 1):
        level = [each for outer in level for each in _inside(outer)]
        if not level:
            return
    raise ValueError(_too_deep())


def _inside(value: object) -> list[object]:
    """Return the lists and tables directly in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, dict | list | tuple)]


def _too_deep() -> str:
    """Return what is wrong with brackets in brackets in brackets."""
    return f"it is nested more than {DEPTH} deep"
