"""What lies under someone's folder: every file by its path in it, and all that is no file of the folder.

Symbolic links are not followed, pipes and devices not opened, and a folder that is a trace by itself is not entered: these
are in `unread`, each with the reason. Whatever no format reads ends there too. A closed list of kinds is passed over
instead, since no tensor can be in them: notes of people (unless most of their lines are numbers), and what a file system, a
version control or a hub leaves behind.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from parity.errors import TraceError
from parity.trace.names import natural, open_inside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

__all__ = ["Tree", "is_note", "tree_of"]

_OWN: Final = frozenset({"manifest.json", "records.jsonl"})
"""A folder with one of these is a trace, or a run of one."""

_NOTES: Final = (".md", ".txt", ".log", ".rst")
_LEFT_BEHIND: Final = frozenset(
    {".DS_Store", "Thumbs.db", "desktop.ini", ".gitignore", ".gitattributes", ".gitkeep", "LICENSE"}
)
_FOLDERS_LEFT_BEHIND: Final = frozenset({".git", ".cache", "__pycache__", "__MACOSX", ".ipynb_checkpoints"})
_OF_MAC: Final = b"\0\5\26\7"
"""How a file `._NAME` begins in which macOS keeps the attributes of NAME."""

_LOOKED_AT: Final = 1 << 12
_LINE: Final = re.compile(rb"^[^\S\n]*[^\s#].*$", re.MULTILINE)
"""A line that says something and is no comment."""

_NUMBERS: Final = re.compile(rb"(?:[-+0-9.,;()\[\]\s]|[eEjJ]|nan|inf)+", re.IGNORECASE)
"""A line of which `numpy.loadtxt` might make numbers, or that a printed array has."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What lies under a folder, by path in it.

    Attributes:
        files: Regular files, in natural order.
        unread: What is not opened -> why; a folder ends in `/`.
        passed_over: What can hold no tensor; a folder ends in `/`.
    """

    files: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def set_aside(self, folder: Path, names: Iterable[str]) -> None:
        """Put files where they belong that nobody reads."""
        for name in names:
            if is_note(folder, name):
                self.passed_over.append(name)
            else:
                self.unread[name] = "is of no known format"


def tree_of(folder: Path, *, own: Collection[str] = _OWN) -> Tree:
    """Return what lies under a folder, to any depth; folders below that have one of the files `own` are not entered."""
    found = Tree()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(folder / prefix) as entries:
                listed = list(entries)
        except OSError as error:
            found.unread[prefix] = f"cannot be opened: {error.strerror}"
            continue
        if prefix and any(entry.name in own for entry in listed):
            found.unread[prefix] = "is a trace by itself, or a run of one; give the folder with its manifest.json"
            continue
        for entry in listed:
            inner = _sort(folder, entry, prefix, found)
            if inner:
                waiting.append(inner)
    found.files.sort(key=natural)
    return found


def _sort(folder: Path, entry: os.DirEntry[str], prefix: str, found: Tree) -> str:
    """Put an entry where it belongs; return the path of a folder that is to be entered, else nothing."""
    name = f"{prefix}{entry.name}"
    if not _is_text(name):
        found.unread[os.fsencode(name).decode("utf-8", "backslashreplace")] = "has a name that is no UTF-8"
    elif entry.is_symlink():
        found.unread[name] = "is a symbolic link, which is not followed; give the file itself"
    elif entry.is_dir(follow_symlinks=False) and entry.name in _FOLDERS_LEFT_BEHIND:
        found.passed_over.append(f"{name}/")
    elif entry.is_dir(follow_symlinks=False):
        return f"{name}/"
    elif not entry.is_file(follow_symlinks=False):
        found.unread[name] = "is no regular file"
    elif _is_left_behind(folder, name):
        found.passed_over.append(name)
    else:
        found.files.append(name)
    return ""


def _is_text(name: str) -> bool:
    """Tell whether a name can be written down."""
    return name.encode("utf-8", "ignore").decode() == name


def _is_left_behind(folder: Path, name: str) -> bool:
    """Tell whether a program that knows nothing of tensors put a file there."""
    last = name.rpartition("/")[2]
    if last.startswith("._"):
        return _start(folder, name).startswith(_OF_MAC)
    return last in _LEFT_BEHIND


def is_note(folder: Path, name: str) -> bool:
    """Tell whether a file is a text for people: most of its lines at the beginning are no numbers."""
    if not name.lower().endswith(_NOTES):
        return False
    start = _start(folder, name)
    lines = _LINE.findall(start)
    numbers = list(filter(_NUMBERS.fullmatch, lines))
    return 2 * len(numbers) <= len(lines) and b"\0" not in start


def _start(folder: Path, name: str) -> bytes:
    """Return the beginning of a file; a zero where it cannot be read."""
    try:
        with os.fdopen(open_inside(folder, name), "rb") as file:
            return file.read(_LOOKED_AT)
    except (TraceError, OSError):
        return b"\0"
