"""A plain folder of `.npy` files as a trace: someone else's dump, without manifest and records.

A file named by a percent-encoded address has that address. Any other name becomes a path of its own: `7_out.npy`
is `7_out:output`, of stage `unet`, for want of a better one, and `vae/decoder.npy` is `vae.decoder:output`. The order is the natural order of the names,
which need not be the order of completion.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, get_args

from parity.dtypes import TypeName
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, checked_end, count_of, place
from parity.trace.names import open_inside
from parity.trace.npy import VOID_OF_TWO, npy_files, read_header
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

__all__ = ["FORMAT", "SUFFIX", "npy_record", "told_of_bfloat16", "type_of"]

SUFFIX: Final = ".npy"


def read_plain(folder: Path, files: Sequence[str]) -> Dump:
    """Make the records of these `.npy` files.

    Raises:
        TraceError: one of them is no plain tensor.
    """
    records = [npy_record(folder, file, *place(file.removesuffix(SUFFIX))) for file in files]
    return Dump(
        folder=folder,
        records=records,
        tensors=npy_files(folder),
        ordered=False,
        tool="",
        notes=told_of_bfloat16(records),
    )


def told_of_bfloat16(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the sentence about tensors of `.npy` files whose type numpy could not name, or none."""
    files = [record.native or "" for record in records if record.dtype == "bfloat16"]
    if not files:
        return ()
    return (f"|V2 is read as bfloat16, for which numpy writes it: {count_of(files)}",)


FORMAT: Final = Format(name=SUFFIX, suffix=SUFFIX, asked=3, read=read_plain, found_by=".npy files", alone=True)


def npy_record(folder: Path, name: str, address: str, stage: str) -> Record:
    """Return the record of the file `name`, relative to `folder`; its elements are found by the header each time.

    Raises:
        TraceError: it is no plain tensor.
    """
    where = f"{folder / name}"
    with os.fdopen(open_inside(folder, name), "rb") as file:
        dtype, shape, _, offset = read_header(file, where)
        size = os.fstat(file.fileno()).st_size
    name_of_type = type_of(dtype, where)
    record = Record(
        address=address,
        stage=stage,
        shape=shape,
        dtype=name_of_type,
        shard=name,
        native=name,
    )
    behind = size - checked_end(record, offset, size, where)
    if behind:
        message = f"{where} has {behind} bytes behind its tensor, another one perhaps; save one tensor a file"
        raise TraceError(message)
    return record


def type_of(dtype: np.dtype[np.generic], where: str) -> str:
    """Return the name of the type that a `.npy` header tells.

    Raises:
        TraceError: it is none of a tensor's.
    """
    if dtype == VOID_OF_TWO:
        return "bfloat16"
    if dtype.name not in get_args(TypeName):
        message = f"{where} holds {dtype}; expected one of {', '.join(get_args(TypeName))}"
        raise TraceError(message)
    return dtype.name
