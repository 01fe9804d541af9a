"""A plain folder of `.npy` files as a trace: someone else's dump, without manifest and records.

A file named by a percent-encoded address has that address. Any other name becomes a path of its own: `7_out.npy`
is `7_out:output`, of stage `unet`, for want of a better one. The order is the natural order of the names,
which need not be the order of completion.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args
from urllib.parse import unquote

from parity.dtypes import TypeName
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, place, unique
from parity.trace.names import natural, open_inside
from parity.trace.npy import read_header
from parity.trace.records import checked_size
from parity.trace.schema import Record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SUFFIX", "named_freely", "npy_record", "read_plain"]

SUFFIX = ".npy"


def read_plain(folder: Path) -> Dump:
    """Make the records of a folder of `.npy` files.

    Raises:
        TraceError: one of them is no plain tensor, or two have one address.
    """
    names = sorted((entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIX)), key=natural)
    records = [npy_record(folder, name, *place(name.removesuffix(SUFFIX))) for name in names]
    return Dump(folder, unique(records, folder), ordered=False, tool="")


def named_freely(record: Record) -> bool:
    """Tell whether the record's file does not bear its address as its name."""
    return unquote((record.shard or "").removesuffix(SUFFIX)) != record.address


def npy_record(folder: Path, name: str, address: str, stage: str) -> Record:
    """Return the record of the file `name`, relative to `folder`; its elements are found by the header each time.

    Raises:
        TraceError: it is no plain tensor.
    """
    where = f"{folder / name}"
    with os.fdopen(open_inside(folder, name), "rb") as file:
        dtype, shape, _, offset = read_header(file, where)
        size = os.fstat(file.fileno()).st_size
    if dtype.name not in get_args(TypeName):
        message = f"{where} holds {dtype}; expected one of {', '.join(get_args(TypeName))}"
        raise TraceError(message)
    record = Record(address=address, stage=stage, shape=shape, dtype=dtype.name, shard=name, native=name)
    needed = offset + checked_size(record, where)
    if needed > size:
        message = f"{where} has {size} bytes; its shape {list(shape)} needs {needed}"
        raise TraceError(message)
    return record
