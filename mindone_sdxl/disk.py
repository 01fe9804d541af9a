"""Files that this package writes: whole under their names, or not at all.

A file is written as `NAME.partial` beside its name, which one process holds at a time, brought to the disk, and renamed.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mindone_sdxl.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_folder", "explained", "partial_of", "reserved", "whole"]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file to write to, which gets the name `path` when the block ends; what a killed process left is replaced.

    Raises:
        OutputError: it cannot be written, or another process writes it; what was there before is as it was.
    """
    with explained(path):
        if path.exists() and not path.is_file():
            message = f"{path} is no regular file; give another name"
            raise OutputError(message)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(path)
        descriptor = _held(partial, path)
        try:
            yield partial
            os.fsync(descriptor)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
            os.close(descriptor)


def partial_of(path: Path) -> Path:
    """Return the name under which something is written that is not whole yet."""
    return path.with_name(f"{path.name}.partial")


def _held(partial: Path, path: Path) -> int:
    """Open a file, empty, and keep other processes from it until the descriptor is closed.

    Raises:
        OutputError: another process has it.
    """
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # whoever had it may have given the file its name since it was opened
                if os.path.samestat(os.fstat(descriptor), partial.stat()):
                    os.ftruncate(descriptor, 0)
                    return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            message = f"{path} is being written by another process; wait for it, or give another name"
            raise OutputError(message) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Try to write where a folder is or shall be, before the work begins whose outcome it holds; nothing is left there.

    Raises:
        OutputError: it cannot be made or written to.
    """
    with explained(folder):
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        trial = there / f".{os.getpid()}.partial"
        try:
            trial.write_bytes(b"\0" * 4096)  # one block: an empty file fits on a disk that is full
        finally:
            trial.unlink(missing_ok=True)


def reserved(folder: Path, suffix: str) -> Path:
    """Make an empty file that is named by the number behind the last one of its folder, and return it.

    Raises:
        OutputError: it cannot be made.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        number = max((int(each.stem) for each in folder.glob(f"*{suffix}") if each.stem.isdecimal()), default=-1)
        while True:
            number += 1
            path = folder / f"{number:09}{suffix}"
            with suppress(FileExistsError):  # another process has just made it
                path.touch(exist_ok=False)
                return path


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says about a path into the one error that the user sees."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}; make room there, or give another place"
        raise OutputError(message) from error
