"""Recognises what another tool wrote, by its files (the table in parity.trace.dumps.dump)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.errors import TraceError
from parity.trace.dumps import msprobe, safetensors_file
from parity.trace.dumps.plain import SUFFIX, read_plain
from parity.trace.dumps.troubleshooter import read_saved

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace.dumps.dump import Dump

__all__ = ["read_foreign"]


def read_foreign(path: Path) -> Dump:
    """Return the dump at `path`.

    Raises:
        TraceError: it is of no known kind, or is damaged.
    """
    if not path.is_dir():
        if not path.is_file():
            message = f"{path} is not there; give a trace's folder or a safetensors file"
            raise TraceError(message)
        file = path.resolve()  # the user named it, and caches of checkpoints are full of links
        return safetensors_file.read_safetensors(file.parent, [file.name])
    dumps = msprobe.find_dumps(path)
    if dumps:
        return msprobe.read_msprobe(path, dumps)
    names = [entry.name for entry in path.iterdir()]
    tensors = [name for name in names if name.endswith(safetensors_file.SUFFIX)]
    if any(name.endswith(SUFFIX) for name in names):
        return read_saved(path) or read_plain(path)
    if tensors:
        return safetensors_file.read_safetensors(path, tensors)
    message = (
        f"{path} is no trace: it has neither manifest.json nor .npy files, .safetensors files or msprobe's dump.json"
    )
    raise TraceError(message)
