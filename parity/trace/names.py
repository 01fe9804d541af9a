"""Names on disk: which are safe, how an address becomes one, and opening without leaving the folder.

A trace may come from a stranger. Its manifest and records name runs and shards, and each of these names is
opened through `open_inside`: no absolute path, no `..`, no symbolic link, regular files only.

    >>> file_name("unet.conv_in@step=0:output")
    'unet.conv_in%40step%3D0%3Aoutput.npy'
    >>> tree_name("unet.conv_in@step=0:output")
    (('unet', 'conv_in'), '@step=0:output')
    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import xxhash

from parity.errors import TraceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_run_name", "file_name", "natural", "open_inside", "size_inside", "tree_name"]

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_NAME: Final = 200
_UNSAFE_IN_TREE = re.compile(r"[%/\x00]")


def check_run_name(name: str) -> None:
    """Accept the name of a run's folder.

    Raises:
        TraceError: it is not letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
    """
    if _RUN_NAME.fullmatch(name) is None:
        message = f"{name!r} cannot name a run; use letters, digits, '.', '_' and '-', for example layers-float64"
        raise TraceError(message)


def file_name(address: str) -> str:
    """Return the percent-encoded file name of an address; one too long for a file system ends in its digest."""
    encoded = quote(address, safe="").replace("~", "%7E")
    if len(encoded) > _LONGEST_NAME:
        encoded = encoded[:_LONGEST_NAME].rstrip("%") + "~" + xxhash.xxh3_128_hexdigest(address.encode())
    return encoded + ".npy"


def tree_name(address: str) -> tuple[tuple[str, ...], str]:
    """Return the HDF5 groups and the dataset name of an address: its path's parts, then index and port."""
    cut = min(address.find(mark) if mark in address else len(address) for mark in "@:")
    groups = tuple(_escape(part) or "%" for part in address[:cut].split("."))
    return groups, _escape(address[cut:])


def _escape(text: str) -> str:
    """Percent-encode what an HDF5 link name cannot hold."""
    return _UNSAFE_IN_TREE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key under which runs of digits count as numbers."""
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", text) if part)


def open_inside(folder: Path, relative: str) -> int:
    """Open a regular file below `folder` for reading and return its descriptor.

    Raises:
        TraceError: the name is absolute, climbs out, passes a symbolic link, or is no regular file.
    """
    path = _inside(folder, relative)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        message = f"{path} cannot be opened: {error.strerror}; the trace names it"
        raise TraceError(message) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"{path} is no regular file; a trace holds only files and folders"
        raise TraceError(message)
    return descriptor


def size_inside(folder: Path, relative: str) -> int:
    """Return the size in bytes of a regular file below `folder`.

    Raises:
        TraceError: as `open_inside`.
    """
    path = _inside(folder, relative)
    try:
        status = path.lstat()
    except (OSError, ValueError) as error:
        message = f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}; the trace names it"
        raise TraceError(message) from error
    if not stat.S_ISREG(status.st_mode):
        message = f"{path} is no regular file; a trace holds only files and folders"
        raise TraceError(message)
    return status.st_size


def _inside(folder: Path, relative: str) -> Path:
    """Return the path of a name below `folder`, every folder on the way being a real one."""
    parts = relative.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in relative or "\0" in relative:
        message = f"{folder}: the name {relative!r} leads out of the trace; names are relative, without '..'"
        raise TraceError(message)
    path = folder
    for part in parts[:-1]:
        path /= part
        if path.is_symlink():
            message = f"{path} is a symbolic link; a trace holds only files and folders"
            raise TraceError(message)
    return path / parts[-1]
