"""A plain folder of `.npy` files as a trace: someone else's dump, without manifest and records.

A file named by a percent-encoded address has that address. Any other name becomes a path of its own: `7_out.npy`
is `7_out:output`, of stage `unet`, for want of a better one. The order is the natural order of the names,
which need not be the order of completion.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote, unquote

from parity.address import Address, stage_of
from parity.dtypes import TypeName, is_float
from parity.errors import AddressError, TraceError
from parity.trace.names import natural, open_inside
from parity.trace.npy import read_header
from parity.trace.records import checked_size
from parity.trace.run_reader import RunReader
from parity.trace.schema import Manifest, Record, RunInfo

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RUN", "named_freely", "read_plain"]

RUN = "plain"
_SUFFIX = ".npy"


def read_plain(folder: Path) -> tuple[Manifest, RunReader]:
    """Make the manifest and the one run, `plain`, of a folder of `.npy` files.

    Raises:
        TraceError: there are none, or one of them is no plain tensor.
    """
    names = sorted((entry.name for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)), key=natural)
    if not names:
        message = f"{folder} is no trace: it has neither manifest.json nor .npy files"
        raise TraceError(message)
    records: dict[str, Record] = {}
    for name in names:
        record = _record(folder, name)
        if record.address in records:
            other = records[record.address].shard
            message = f"{folder}: {name!r} and {other!r} both are {record.address!r}; rename one"
            raise TraceError(message)
        records[record.address] = record
    types = Counter(record.dtype for record in records.values())
    floats = [name for name, _ in types.most_common() if is_float(name)]
    info = RunInfo(mode="run", dtype=(floats or list(types))[0], complete=True, records=len(records))
    info.bytes_recorded = info.bytes_stored = sum(checked_size(record, str(folder)) for record in records.values())
    manifest = Manifest(
        side="reference", name=folder.name, status="complete", case={}, case_digest="", store="npy", runs={RUN: info}
    )
    return manifest, RunReader(folder, RUN, info, list(records.values()))


def named_freely(record: Record) -> bool:
    """Tell whether the record's file does not bear its address as its name."""
    return unquote((record.shard or "").removesuffix(_SUFFIX)) != record.address


def _record(folder: Path, name: str) -> Record:
    """Return the record of one file; its elements are found by the header each time."""
    where = f"{folder / name}"
    with os.fdopen(open_inside(folder, name), "rb") as file:
        dtype, shape, _, offset = read_header(file, where)
        size = os.fstat(file.fileno()).st_size
    if dtype.name not in get_args(TypeName):
        message = f"{where} holds {dtype}; expected one of {', '.join(get_args(TypeName))}"
        raise TraceError(message)
    address, stage = _place(name.removesuffix(_SUFFIX))
    record = Record(address=address, stage=stage, shape=shape, dtype=dtype.name, shard=name, native=name)
    needed = offset + checked_size(record, where)
    if needed > size:
        message = f"{where} has {size} bytes; its shape {list(shape)} needs {needed}"
        raise TraceError(message)
    return record


def _place(name: str) -> tuple[str, str]:
    """Return address and stage of a file name."""
    try:
        address = Address.parse(unquote(name, errors="strict"))
        return str(address), address.stage
    except (AddressError, UnicodeDecodeError):
        text = f"{quote(name, safe=' /<>&+,;=()[]{}')}:output"
    try:
        return text, stage_of(text.removesuffix(":output"))
    except AddressError:
        return text, "unet"
