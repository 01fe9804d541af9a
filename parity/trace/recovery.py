"""Finding what an interrupted run left whole, so that it can be continued.

Whole is every complete line of records.jsonl, because a line is appended after its shard was closed and
synced. A last line without its newline, and files that no record names, are what the interruption cut off.
"""

from __future__ import annotations

import fcntl
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from parity.errors import TraceError
from parity.reading import RECORDS_BYTES
from parity.trace.names import read_inside
from parity.trace.npy import FOLDER
from parity.trace.records import check_places, decode

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace.schema import Record

__all__ = ["Recovered", "lock", "recover"]

_SHARD = re.compile(r"tensors-([0-9]{4,})\.h5")


class Recovered(NamedTuple):
    """What is whole: the records, their lines, and the number of the shard to write next."""

    records: list[Record]
    data: bytes
    next_shard: int


def lock(folder: Path) -> int:
    """Keep other recorders out of a run's folder until the returned descriptor is closed, or this process ends.

    Raises:
        TraceError: another recorder is at work there, or the folder is a symbolic link.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        message = f"{folder} cannot be opened as the folder of a run: {error.strerror}; choose another folder"
        raise TraceError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        message = f"{folder} is being recorded by another process; wait for it, or end it and resume"
        raise TraceError(message) from error
    except OSError:
        # A file system without locks: nothing is kept out.
        return descriptor
    return descriptor


def recover(folder: Path) -> Recovered:
    """Cut off what an interruption left unfinished in a run's folder and return the rest.

    Raises:
        TraceError: what should be whole is damaged.
    """
    path = folder / "records.jsonl"
    data = read_inside(folder, path.name, RECORDS_BYTES)
    whole = data[: data.rfind(b"\n") + 1]
    records = decode(whole, str(path))
    check_places(records, folder, str(path))
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    named = {record.shard for record in records if record.shard is not None}
    return Recovered(records, whole, _remove_unfinished(folder, named))


def _remove_unfinished(folder: Path, named: set[str]) -> int:
    """Remove the files that no record names; return the number of the next shard."""
    last = -1
    for entry in folder.iterdir():
        found = _SHARD.fullmatch(entry.name)
        if found is None:
            continue
        if entry.name in named:
            last = max(last, int(found[1]))
        else:
            entry.unlink()
    tensors = folder / FOLDER
    if tensors.is_dir() and not tensors.is_symlink():
        for entry in tensors.iterdir():
            if f"{FOLDER}/{entry.name}" not in named:
                entry.unlink()
    return last + 1
