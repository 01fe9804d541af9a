"""Names on disk: which are safe, how an address becomes one, and opening without leaving the folder.

A trace may come from a stranger. Its manifest and records name runs and shards, and each of these names is
opened through `open_inside`: no absolute path, no `..`, no symbolic link, regular files only.

    >>> file_name("unet.conv_in@step=0:output")
    'unet.conv_in%40step%3D0%3Aoutput.npy'
    >>> tree_name("unet.conv_in@step=0:output")
    ('unet', 'conv_in@step=0:output')
    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import xxhash

from parity.address import component_of
from parity.errors import TraceError
from parity.reading import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_run_name", "file_name", "natural", "open_inside", "read_inside", "sizes_inside", "tree_name"]

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_NAME: Final = 200
_STAYS_INSIDE = re.compile(r"(?!\.{1,2}(/|\Z))[^/\\\x00]+(/(?!\.{1,2}(/|\Z))[^/\\\x00]+)*")
_UNSAFE_IN_TREE = re.compile(r"[%/\x00]")


def check_run_name(name: str) -> None:
    """Accept the name of a run's folder.

    Raises:
        TraceError: it is not letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
    """
    if _RUN_NAME.fullmatch(name) is None:
        message = f"{name!r} cannot name a run; use letters, digits, '.', '_' and '-', for example layers-float64"
        raise TraceError(message)


def file_name(address: str, *, always_digest: bool = False) -> str:
    """Return the percent-encoded file name of an address; one too long for a file system ends in its digest."""
    encoded = quote(address, safe="")
    if always_digest or len(encoded) > _LONGEST_NAME:
        encoded = encoded[:_LONGEST_NAME] + "~" + xxhash.xxh3_128_hexdigest(address.encode())
    return encoded + ".npy"


def tree_name(address: str) -> tuple[str, str]:
    """Return the HDF5 group and the dataset name of an address: its component, and the rest of it."""
    component = component_of(address)
    rest = _escape(address[len(component) :])
    if rest.startswith((".@", ".:")):  # an empty last part of a path must not look like the component's own
        rest = "%" + rest[1:]
    return _escape(component) or "%", rest.removeprefix(".")


def _escape(text: str) -> str:
    """Percent-encode what an HDF5 link name cannot hold."""
    return _UNSAFE_IN_TREE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key under which runs of digits count as numbers."""
    parts = filter(None, re.split(r"([0-9]+)", text))
    return tuple(map(_place_in_order, parts))


def _place_in_order(part: str) -> tuple[int, int, str]:
    """Return the sorting key of digits, which come first and by their number, or of the text between."""
    if part.isdecimal():
        return 0, int(part), part
    return 1, 0, part


def open_inside(folder: Path, relative: str, parents: set[str] | None = None) -> int:
    """Open a regular file below `folder` for reading and return its descriptor.

    `parents` holds the folders on the way that were checked already; this one is added.

    Raises:
        TraceError: the name is absolute, climbs out, passes a symbolic link, or is no regular file.
    """
    path = _inside(folder, relative, set() if parents is None else parents)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        message = f"{path} cannot be opened: {reason}; the trace names it"
        raise TraceError(message) from error
    try:
        _check_regular(path, os.fstat(descriptor))
    except TraceError:
        os.close(descriptor)
        raise
    return descriptor


def read_inside(folder: Path, relative: str, most: int) -> bytes:
    """Return the bytes of a regular file below `folder`.

    Raises:
        TraceError: as `open_inside`, or it cannot be read or has more than `most` bytes.
    """
    descriptor = open_inside(folder, relative)
    try:
        return read_bounded(descriptor, most)
    except OSError as error:
        message = f"{folder / relative} cannot be read: {error.strerror}"
        raise TraceError(message) from error


def sizes_inside(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of each of these regular files below `folder`.

    Raises:
        TraceError: as `open_inside`.
    """
    sizes: dict[str, int] = {}
    parents: set[str] = set()
    for relative in names:
        path = _inside(folder, relative, parents)
        try:
            status = os.lstat(path)
        except OSError as error:
            message = f"{path} cannot be opened: {error.strerror}; the trace names it"
            raise TraceError(message) from error
        _check_regular(path, status)
        sizes[relative] = status.st_size
    return sizes


def _inside(folder: Path, relative: str, parents: set[str]) -> str:
    """Return the path of a name that stays inside; `parents` as in `open_inside`.

    Raises:
        TraceError: it leads out, or a folder on the way is a symbolic link.
    """
    if _STAYS_INSIDE.fullmatch(relative) is None:
        message = f"{folder}: the name {relative!r} leads out of the trace; names are relative, without '..'"
        raise TraceError(message)
    parent = relative.rpartition("/")[0]
    if parent and parent not in parents:
        path = folder
        for part in parent.split("/"):
            path /= part
            if path.is_symlink():
                message = f"{path} is a symbolic link; a trace holds only files and folders"
                raise TraceError(message)
        parents.add(parent)
    return f"{folder}/{relative}"


def _check_regular(path: str, status: os.stat_result) -> None:
    """Refuse a folder, a link, a pipe, a device.

    Raises:
        TraceError: it is one.
    """
    if not stat.S_ISREG(status.st_mode):
        message = f"{path} is no regular file; a trace holds only files and folders"
        raise TraceError(message)
