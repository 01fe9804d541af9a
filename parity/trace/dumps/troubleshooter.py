"""A folder that TroubleShooter's `save` wrote, as a trace.

Its files bear a counter that grows with every tensor saved: in front where torch saved the tensor; behind, after the
type, where MindSpore's `TensorDump` did, which `save` calls there:

    0_latents.npy  1_unet.sample_out.npy  2_latents.npy        latents_float32_0.npy  latents_float32_2.npy

So the order of execution is known, and a name that was saved more than once has calls: both folders hold
`latents@call=0:output` and `latents@call=1:output`. A folder is read so if every `.npy` file in it has a counter
of one of the two forms, no two have the same, and none may be written to: both writers leave their files read-only,
while numbers in anyone's file names may mean anything. Any other folder is a plain one.
"""

from __future__ import annotations

import re
import stat
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from parity.dtypes import TypeName
from parity.trace.dumps.dump import Dump, stage_or_unet
from parity.trace.dumps.plain import SUFFIX, npy_record

if TYPE_CHECKING:
    from pathlib import Path

    from parity.trace.schema import Record

__all__ = ["read_saved"]

_FORMS = (
    re.compile(r"(?P<count>[0-9]{1,18})_(?P<name>.+)\.npy"),
    re.compile(rf"(?P<name>.+?)(?:_in)?_(?:{'|'.join(get_args(TypeName))})_(?P<count>[0-9]{{1,18}})\.npy"),
)


def read_saved(folder: Path) -> Dump | None:
    """Make the records of a save folder; None where the files' names are no such.

    Raises:
        TraceError: a file is no plain tensor.
    """
    entries = [entry for entry in folder.iterdir() if entry.name.endswith(SUFFIX)]
    files = _in_order([entry.name for entry in entries])
    if files is None or any(entry.lstat().st_mode & stat.S_IWUSR for entry in entries):
        return None
    often = Counter(name for _, name in files)
    calls: defaultdict[str, int] = defaultdict(int)
    records: list[Record] = []
    for file, name in files:
        index = f"@call={calls[name]}" if often[name] > 1 else ""
        calls[name] += 1
        path = quote(name, safe=" /<>&+,;=()[]{}")
        records.append(npy_record(folder, file, f"{path}{index}:output", stage_or_unet(path)))
    return Dump(folder, records, ordered=True, tool="TroubleShooter")


def _in_order(files: list[str]) -> list[tuple[str, str]] | None:
    """Return (file, name saved under) in the order of the counters; None where they are no counters."""
    for form in _FORMS:
        matches = [form.fullmatch(file) for file in files]
        found = {int(match["count"]): (match[0], match["name"]) for match in matches if match is not None}
        if found and len(found) == len(files):
            return [found[count] for count in sorted(found)]
    return None
