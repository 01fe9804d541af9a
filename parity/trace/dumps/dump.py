"""What another tool left on the disk, as a trace of one run.

A trace of ours says what it is; a foreign one is recognised by its files:

| files | tool | read by |
|---|---|---|
| `dump.json`, or `stepN/` with one in it | msprobe | parity.trace.dumps.msprobe |
| `*.safetensors`, or one such file | safetensors | parity.trace.dumps.safetensors_file |
| read-only `*.npy` that all bear a counter | TroubleShooter | parity.trace.dumps.troubleshooter |
| other `*.npy` | anyone | parity.trace.dumps.plain |

Each reader makes records, without digests, of the files as they lie; nothing is copied or converted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote

from parity.address import Address, stage_of
from parity.dtypes import is_float
from parity.errors import AddressError, TraceError
from parity.trace.records import checked_size
from parity.trace.run_reader import RunReader
from parity.trace.schema import Manifest, Record, RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["RUN", "Dump", "as_run", "place", "stage_or_unet", "unique"]

RUN: Final = "plain"
_KEPT: Final = " /<>&+,;=()[]{}"


class Dump(NamedTuple):
    """Foreign files as records.

    Attributes:
        folder: The folder that the records' files are relative to.
        records: One for each tensor or value, in order.
        ordered: Whether that order is the order of execution.
        tool: Who wrote the files.
        framework: What computed them, if the files tell.
    """

    folder: Path
    records: list[Record]
    ordered: bool
    tool: str
    framework: str = ""


def as_run(dump: Dump, name: str) -> tuple[Manifest, RunReader]:
    """Return the manifest and the one run, `plain`, of a dump; `name` is the side's."""
    tensors = [record for record in dump.records if record.kind == "tensor"]
    types = Counter(record.dtype for record in tensors)
    floats = [each for each, _ in types.most_common() if is_float(each)]
    info = RunInfo(mode="run", dtype=(floats or list(types))[0], complete=True, records=len(dump.records))
    info.bytes_recorded = info.bytes_stored = sum(checked_size(record, str(dump.folder)) for record in tensors)
    manifest = Manifest(
        side="reference", name=name, status="complete", case={}, case_digest="", store="npy", runs={RUN: info},
        provenance={key: text for key, text in (("tool", dump.tool), ("framework", dump.framework)) if text},
    )  # fmt: skip
    return manifest, RunReader(dump.folder, RUN, info, dump.records)


def place(name: str) -> tuple[str, str]:
    """Return address and stage of a name: an address, percent-encoded or not, or else a path of its own."""
    try:
        address = Address.parse(unquote(name, errors="strict"))
        return str(address), address.stage
    except (AddressError, UnicodeDecodeError):
        path = quote(name, safe=_KEPT)
    return f"{path}:output", stage_or_unet(path)


def stage_or_unet(path: str) -> str:
    """Return the stage of a path; `unet`, for want of a better one, where none is known."""
    try:
        return stage_of(path)
    except AddressError:
        return "unet"


def unique(records: Iterable[Record], where: Path) -> list[Record]:
    """Return the records if each has an address of its own.

    Raises:
        TraceError: two have the same.
    """
    found: dict[str, Record] = {}
    for record in records:
        other = found.setdefault(record.address, record)
        if other is not record:
            message = f"{where}: {record.native!r} and {other.native!r} both are {record.address!r}; rename one"
            raise TraceError(message)
    return list(found.values())
