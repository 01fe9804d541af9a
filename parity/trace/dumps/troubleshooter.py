"""A folder that TroubleShooter's `save` wrote, as a trace.

Its files bear a counter that grows with every tensor saved: in front where torch saved the tensor; behind, after the
type, where MindSpore's `TensorDump` did, which `save` calls there:

    0_latents.npy  1_unet.sample_out.npy  2_latents.npy        latents_float32_0.npy  latents_float32_2.npy

So the order of execution is known, and a name that was saved more than once has calls: both folders hold
`latents@call=0:output` and `latents@call=1:output`. A folder is read so if every `.npy` file in it has a counter
of one of the two forms, no two have the same, and none may be written to: both writers leave their files read-only,
while numbers in anyone's file names may mean anything. Any other folder is a plain one, and so are folders in it.
"""

from __future__ import annotations

import re
import stat
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final, get_args

from parity.address import Address
from parity.dtypes import TypeName
from parity.trace.dumps.dump import Dump, Format, quoted, stage_or_unet
from parity.trace.dumps.plain import SUFFIX, npy_record
from parity.trace.npy import npy_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parity.trace.schema import Record

__all__ = ["FORMAT"]

_FORMS = (
    re.compile(r"(?P<count>[0-9]{1,18})_(?P<name>.+)\.npy"),
    re.compile(rf"(?P<name>.+?)(?:_in)?_(?:{'|'.join(get_args(TypeName))})_(?P<count>[0-9]{{1,18}})\.npy"),
)


def read_saved(folder: Path, files: Sequence[str]) -> Dump | None:
    """Make the records of a save folder; None where the files' names are no such, or one may be written to.

    Raises:
        TraceError: a file is no plain tensor.
    """
    files = [file for file in files if "/" not in file]
    if not files:
        return None
    named = _in_order(files)
    if named is None or _one_is_writable(folder, files):
        return None
    often = Counter(named.values())
    calls: defaultdict[str, int] = defaultdict(int)
    records: list[Record] = []
    for file, name in named.items():
        path = quoted(name)
        address = Address(path=path, port="output")
        if often[name] > 1:
            address = replace(address, call=calls[name])
        calls[name] += 1
        records.append(npy_record(folder, file, str(address), stage_or_unet(path)))
    return Dump(
        folder=folder,
        records=records,
        tensors=npy_files(folder),
        ordered=True,
        tool="TroubleShooter",
    )


FORMAT: Final = Format(name="TroubleShooter", suffix=SUFFIX, asked=2, read=read_saved)


def _one_is_writable(folder: Path, files: Sequence[str]) -> bool:
    """Tell whether somebody may have changed a file since it was saved."""
    return any((folder / file).lstat().st_mode & stat.S_IWUSR for file in files)


def _in_order(files: Sequence[str]) -> dict[str, str] | None:
    """Return file -> name saved under, in the order of the counters; None where they are no counters."""
    for form in _FORMS:
        matches = filter(None, map(form.fullmatch, files))
        counted = {int(match["count"]): match for match in matches}
        if len(counted) == len(files):  # each has a counter of its own
            return {match[0]: match["name"] for _, match in sorted(counted.items())}
    return None
