"""Recognises what another tool wrote, by its files.

A trace of ours says what it is; anything else is shown to one format after the other, and the first that knows it
reads it. The formats are the modules of this folder that have a `FORMAT`, so a further one is a further file and
nothing else. docs/other-dumps.md has the table of them for whoever has such files.
"""

from __future__ import annotations

import fnmatch
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from parity.errors import TraceError
from parity.trace import dumps
from parity.trace.names import natural

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace.dumps.dump import Dump, Format

__all__ = ["formats", "read_foreign"]


@cache
def formats() -> tuple[Format, ...]:
    """Return all formats, in the order in which they are asked."""
    modules = [import_module(info.name) for info in iter_modules(dumps.__path__, f"{dumps.__name__}.")]
    found: list[Format] = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return tuple(sorted(found, key=lambda each: each.asked))


def read_foreign(path: Path) -> Dump:
    """Return the dump at `path`, a folder or a file.

    Raises:
        TraceError: it is of no known kind, or is damaged.
    """
    dump = _in_folder(path) if path.is_dir() else _alone(path)
    if dump is not None:
        return dump
    *most, last = sorted(each.found_by for each in formats() if each.found_by)
    message = f"{path} is no trace: it has neither manifest.json nor {', '.join(most)} or {last}"
    raise TraceError(message)


def _in_folder(path: Path) -> Dump | None:
    """Return the dump in a folder, as the first format reads it that knows it."""
    names = sorted((entry.name for entry in path.iterdir()), key=natural)
    for each in formats():
        files = fnmatch.filter(names, f"*{each.suffix}")
        dump = each.read(path, files) if files else None
        if dump is not None:
            return dump
    return None


def _alone(path: Path) -> Dump | None:
    """Return the dump that is one file."""
    for each in formats():
        if each.alone and path.name.endswith(each.suffix):
            break
    else:
        message = f"{path} is not a folder; give the folder that `parity record --out` wrote"
        raise TraceError(message)
    if not path.is_file():
        message = f"{path} is not there; give a trace's folder or a {each.name} file"
        raise TraceError(message)
    file = path.resolve()  # the user named it, and caches of checkpoints are full of links
    return each.read(file.parent, [file.name])
