"""What is written to disk: whole under its name, or not at all.

A file is written beside its name, brought to the disk, and renamed. Whoever looks finds the earlier file or the new one,
and a disk that is full leaves the earlier one as it was. A folder is claimed before the work begins whose outcome it
shall hold: it is made, written to on trial, and kept from other writers by a lock that the system releases when the
process ends, however it ends.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, claimed(Path(folder) / "result"):
    ...     write_together(Path(folder) / "result", {"result.json": b"{}", "images/a.png": b"drawn from it"})
    ...     sorted(path.name for path in (Path(folder) / "result").iterdir())
    ['images', 'result.json']

Limits: a file system without locks (some of NFS) keeps nobody out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from parity.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["check_file", "claimed", "is_partial", "write", "write_together", "writing"]

_PARTIAL: Final = ".parity-*.partial"
_TRIES: Final = 1000
_TRIAL: Final = b"\0" * 4096  # one block: an empty file fits on a disk that is full


def write(path: str | Path, data: bytes) -> None:
    """Write a file; its folder is made where there is none.

    Raises:
        OutputError: it cannot be written; what was there before is as it was.
    """
    with writing(path) as file:
        file.write(data)


@contextmanager
def writing(path: str | Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when the block ends, or is gone when the block raises.

    Raises:
        OutputError: it cannot be written; what was there before is as it was.
    """
    path = Path(path)
    with _explained(path):
        _check_name(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(path)
        try:
            with partial.open("xb") as file:
                yield file
                _sync(file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(path.parent)


def write_together(folder: Path, files: Mapping[str, bytes], *, instead_of: Iterable[str] = ()) -> None:
    """Write a file and, after it, those that are drawn from it; names may have folders.

    What was drawn from the earlier one and has another name, `instead_of` names.

    All are on the disk before the first is replaced, and what was drawn from the earlier one is gone by then: an
    interruption leaves the earlier files, the new ones, or one file whose drawings are missing, and never a drawing of
    another one.

    Raises:
        OutputError: one cannot be written; what was there before is as it was.
    """
    partials: dict[Path, Path] = {}
    paths = [folder / name for name in files]
    try:
        for path, data in zip(paths, files.values(), strict=True):
            with _explained(path):
                _check_name(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                partials[path] = _beside(path)
                with partials[path].open("xb") as file:
                    file.write(data)
                    _sync(file)
        with _explained(folder):
            for drawn in [*paths[1:], *(folder / name for name in instead_of)]:
                drawn.unlink(missing_ok=True)
            for path in paths:
                partials[path].replace(path)
            for parent in {path.parent for path in paths}:
                _sync_folder(parent)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def check_file(path: str | Path) -> None:
    """Refuse a name that no file can have, before the work begins whose outcome it shall hold; nothing is left there.

    Raises:
        OutputError: it is a folder, a link or a device, lies below a file, is too long, or its folder takes no file.
    """
    path = Path(path)
    _check_name(path)
    missing = _missing(path.parent)
    with _explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _try(path.parent)
        finally:
            _remove(missing)


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Make a folder, try to write into it, and keep other writers out while the block runs.

    What an ended writer left half written is removed. A folder that was made here and holds nothing at the end is gone.

    Raises:
        OutputError: it cannot be made or written to, or another process has claimed it.
    """
    folder = Path(folder)
    with _explained(folder):
        is_file = folder.is_file()
    if is_file:
        message = f"{folder} is a file and no folder; give another --out"
        raise OutputError(message)
    missing = _missing(folder)
    with _explained(folder):
        try:
            descriptor = _locked(folder)
        except OSError:
            _remove(missing[1:])  # the folder itself is its holder's
            raise
    try:
        with _explained(folder):
            for partial in folder.glob(_PARTIAL):
                partial.unlink()
            _try(folder)
        yield
    finally:
        _remove(missing)
        os.close(descriptor)


def _missing(folder: Path) -> list[Path]:
    """Return a folder and those above it that are not there."""
    return [each for each in (folder, *folder.parents) if not os.path.lexists(each)]


def _remove(folders: Sequence[Path]) -> None:
    """Remove those of some folders that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _locked(folder: Path) -> int:
    """Make a folder where there is none, and return the descriptor that holds its lock."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, FileExistsError):  # its holder has removed it just now
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _lock(descriptor, folder)
                if os.path.samestat(os.fstat(descriptor), folder.stat()):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _lock(descriptor: int, folder: Path) -> None:
    """Take the lock of an open folder.

    Raises:
        OutputError: another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"{folder} is being written by another process; wait for it, or give another --out"
        raise OutputError(message) from error
    except OSError:
        return  # a file system without locks keeps nobody out


def _check_name(path: Path) -> None:
    """Refuse to take the place of what is no file.

    Raises:
        OutputError: it is a folder, a link or a device, lies below a file, or its name is too long.
    """
    with _explained(path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        message = f"{path} cannot be written: it is {kind}; give another name"
        raise OutputError(message)


def _try(folder: Path) -> None:
    """Write a block into a folder and remove it again."""
    partial = _beside(folder / "trial")
    try:
        with partial.open("xb") as file:
            file.write(_TRIAL)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system says about a path into the one error that the user sees."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}; make room there, or give another place"
        raise OutputError(message) from error


def is_partial(path: Path) -> bool:
    """Tell whether a file is one that a writer has not named yet, or never will."""
    return path.match(_PARTIAL)


def _beside(path: Path) -> Path:
    """Return a name in the same folder that nobody else uses, short whatever the file's own is."""
    return path.with_name(_PARTIAL.replace("*", f"{os.getpid()}-{secrets.token_hex(4)}"))


def _sync(file: IO[bytes]) -> None:
    """Bring what was written to the disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
