"""What a format is, and what its reader makes of someone's files: a trace of one run.

A format is a module of this folder with the row `FORMAT`; `parity.trace.dumps.recognise` asks each in turn. Its reader
makes records, without digests, of the files as they lie, and says with `Tensors` how their elements are read:

    Files(folder, one_tensor_each=False)                    bytes at the offset that each record has
    Files(folder, one_tensor_each=True, opener=...)         and a function for the records that have none

Nothing is copied or converted, and nothing is unpickled. Whatever a reader is given and does not read, it says so.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from parity.address import Address
from parity.components import UNDECLARED
from parity.dtypes import is_float
from parity.errors import AddressError, TraceError
from parity.trace.records import checked_size
from parity.trace.run_reader import RunReader
from parity.trace.schema import Manifest, Record, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from parity.trace.files import Tensors

__all__ = [
    "RUN",
    "Dump",
    "Format",
    "as_run",
    "beside",
    "checked_end",
    "count_of",
    "is_step",
    "place",
    "quoted",
    "stage_or_unet",
    "unique",
]

RUN: Final = "plain"
_NAMED: Final = 3
_KEPT: Final = " /<>&+,;=()[]{}"
_STEP: Final = re.compile(r"steps?[-_= ]?([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Dump:
    """Foreign files as records.

    Attributes:
        folder: Where they lie.
        records: One for each tensor or value, in order.
        tensors: What reads the tensors of the records.
        ordered: Whether that order is the order of execution.
        tool: Who wrote the files.
        framework: What computed them, if the files tell.
        unread: Files, parts of files, or folders (with `/` at the end) that were given and not read -> why, as what follows
            the name in a sentence.
        known: Files without a tensor that were read for what they say of the others, or that the tool writes beside them.
        notes: Sentences about how something was read.
    """

    folder: Path
    records: list[Record]
    tensors: Tensors
    ordered: bool
    tool: str
    framework: str = ""
    unread: dict[str, str] = field(default_factory=dict)
    known: Sequence[str] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of dump.

    Attributes:
        name: What messages call one of its files.
        suffix: The ending of its files, or several; empty where they are known by more than their names.
        asked: Formats are asked in ascending order: first those that look closer than at an ending.
        read: Returns the dump of a folder and the files under it that end so and that no other format has read, by their
            paths, in natural order; None where these are of another kind after all, TraceError where one cannot be read.
            By an ending alone the rest is then read without that one.
        found_by: What a folder of this kind has, as the message about a folder of no kind lists it; may be empty.
        alone: Whether a file with this ending is a dump by itself.
    """

    name: str
    suffix: str | tuple[str, ...]
    asked: int
    read: Callable[[Path, Sequence[str]], Dump | None]
    found_by: str = ""
    alone: bool = False


def as_run(dump: Dump, name: str) -> tuple[Manifest, RunReader]:
    """Return the manifest and the one run, `plain`, of a dump; `name` is the side's."""
    tensors = [record for record in dump.records if record.kind == "tensor"]
    info = RunInfo(mode="run", dtype=_main_type(tensors), complete=True, records=len(dump.records))
    info.bytes_recorded = info.bytes_stored = sum(checked_size(record, str(dump.folder)) for record in tensors)
    provenance = {"tool": dump.tool, "framework": dump.framework}
    manifest = Manifest(
        side="reference",
        name=name,
        status="complete",
        case={},
        case_digest="",
        store="npy",
        runs={RUN: info},
        provenance={key: text for key, text in provenance.items() if text},
    )
    return manifest, RunReader(dump.folder, RUN, info, dump.records, dump.tensors)


def _main_type(tensors: Iterable[Record]) -> str:
    """Return the most frequent floating type, or the first type where none is floating."""
    types = Counter(record.dtype for record in tensors)
    by_frequency = [dtype for dtype, _ in types.most_common()]
    return next(filter(is_float, by_frequency), next(iter(types)))


def place(name: str) -> tuple[str, str]:
    """Return address and stage of a name: an address, percent-encoded or not, or else a path of its own.

    Folders in front of it are parts of the path, and one that is called like a step is the step:

    >>> place("step_3/unet/conv_in")
    ('unet.conv_in@step=3:output', 'unet')
    """
    *folders, last = name.split("/")
    try:
        found = Address.parse(unquote(last, errors="strict"))
    except ValueError:
        found = Address(path=_path_part(last), port="output")
    for folder in reversed(folders):
        step = _STEP.fullmatch(folder)
        if step is not None and found.step is None:
            found = replace(found, step=int(step[1]))
        else:
            found = replace(found, path=f"{_path_part(folder)}.{found.path}")
    return str(found), stage_or_unet(found.path, found.port)


def _path_part(name: str) -> str:
    """Return a name as a part of a path, which is never empty."""
    return quoted(name) or "%"


def beside(file: str, name: str) -> str:
    """Return what `place` is given of a tensor in a file of several: the file's folder in front of the tensor's own name.

    >>> beside("unet/model.safetensors", "conv_in"), beside("x.npz", "y")
    ('unet/conv_in', 'y')
    """
    folder, slash, _ = file.rpartition("/")
    return f"{folder}{slash}{name}"


def is_step(name: str) -> bool:
    """Tell whether a folder or a file of this name holds what belongs to one step: `step3`, `step_3`."""
    return _STEP.fullmatch(name) is not None


def count_of(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are.

    >>> count_of(["a", "b"]), count_of(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    told = ", ".join(names[:_NAMED])
    if len(names) <= _NAMED:
        return told
    return f"{told} and {len(names) - _NAMED} more"


def quoted(name: str) -> str:
    """Return a name with what an address cannot hold percent-encoded."""
    return quote(name, safe=_KEPT)


def stage_or_unet(path: str, port: str = "output") -> str:
    """Return the stage of a path and port; `unet`, for want of a better one, where none is known."""
    try:
        return UNDECLARED.stage_of(path, port)
    except AddressError:
        return "unet"


def checked_end(record: Record, start: int, size: int, where: str) -> int:
    """Return where the bytes of a record end that begin at `start` of a file of `size` bytes.

    Raises:
        TraceError: the file ends before, or no tensor has this type and shape.
    """
    end = start + checked_size(record, where)
    if end > size:
        message = f"{where} has {size} bytes; its shape {list(record.shape)} needs {end}"
        raise TraceError(message)
    return end


def unique(records: Iterable[Record], where: Path) -> list[Record]:
    """Return the records if each has an address of its own.

    Raises:
        TraceError: two have the same.
    """
    found: dict[str, Record] = {}
    for record in records:
        other = found.setdefault(record.address, record)
        if other is not record:
            raise TraceError(_twice(other, record, where))
    return list(found.values())


def _twice(first: Record, second: Record, where: Path) -> str:
    """Return the message about two tensors of one address."""
    if first.shard == second.shard:
        return (
            f"{where}: in {first.shard} {first.native!r} and {second.native!r} both are {first.address!r}; rename one"
        )
    return (
        f"{where}: {first.shard} and {second.shard} both hold {first.address!r}; compare one of them by itself, for example "
        f"`parity compare {where}/{first.shard} …`, or leave one of them in the folder"
    )
