"""What the name of a file says of the tensors in it.

A tensor without a name of its own is called like its file; a file of one that is given by itself has nothing to be told apart
from, so two such files meet whatever they are called. Tensors that have names keep them, but

- in a file that is called like a step: `step_3.npz` holds step 3;
- in files that would clash and are parts of one dump, by their names: `layer0.npz` and `layer1.npz`, both of `input` and
  `output`, hold `layer0.input` and so on; so do `down.npz` and `mid.npz`.

Other files that clash are variants of each other (`model.safetensors` and `model.fp16.safetensors`), and nobody but the user
knows which is meant. Files of formats of checkpoints are parts only if they are numbered.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from parity.trace.dumps.dump import is_step, place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from parity.trace.schema import Record

__all__ = ["named_by_files", "without_file"]

_NUMBERED: Final = re.compile(r"([A-Za-z]*)([0-9]+)")
_TYPES: Final = frozenset({"fp", "f", "float", "bf", "bfloat", "int", "i", "uint", "u", "q", "e"})
_ARRAYS: Final = ".npz"
_SHARD: Final = re.compile(r"-of-#\.")


def named_by_files(records: Sequence[Record]) -> list[Record]:
    """Return the records of files in a folder, with the file in the address where its name says more than the tensor's."""
    files = _telling(records)
    named = list(records)
    for position, record in enumerate(records):
        if record.shard in files:
            named[position] = _with_file(record)
    return named


def without_file(records: Sequence[Record]) -> list[Record]:
    """Return the records of a file that was given by itself: a single tensor without a name is `tensor:output`."""
    first, *more = records
    if more or _has_name(first):
        return list(records)
    return [msgspec.structs.replace(first, address="tensor:output", stage="unet")]


def _has_name(record: Record) -> bool:
    """Tell whether a tensor has a name of its own and is not called like its file."""
    return record.native not in {None, record.shard}


def _telling(records: Sequence[Record]) -> set[str]:
    """Return the files whose names belong into the addresses of their tensors."""
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for record in filter(_has_name, records):
        holders[record.address].add(record.file)
    found: set[str] = set()
    for files in holders.values():
        found.update(filter(_is_of_step, files))
        if _belong_together(files):
            found |= files
    return found


def _belong_together(files: Collection[str]) -> bool:
    """Tell whether several files that hold one name are parts of one dump, and no variants of each other."""
    if len(files) == 1:
        return False
    return _is_series(files) or _are_parts(files)


def _is_of_step(file: str) -> bool:
    """Tell whether a file is called like a step."""
    return is_step(file.rpartition("/")[2].rpartition(".")[0])


def _is_series(files: Iterable[str]) -> bool:
    """Tell whether the names of files differ in their numbers alone, and these are neither of shards nor of types."""
    first, *others = {_NUMBERED.sub(_numberless, file) for file in files}
    if others:
        return False
    return not _SHARD.search(first)


def _are_parts(files: Iterable[str]) -> bool:
    """Tell whether archives of arrays are called so that none is another one with a number or a word more."""
    stems = sorted(file.removesuffix(_ARRAYS) for file in files if file.endswith(_ARRAYS))
    words = {_NUMBERED.sub("", stem) for stem in stems}
    if not 1 < len(stems) == len(words):
        return False
    return not any(further.startswith(each) for each, further in pairwise(stems))


def _numberless(found: re.Match[str]) -> str:
    """Return a word without the number behind it, unless both are the name of a type."""
    word = found[1]
    if word.lower() in _TYPES:
        return found[0]
    return f"{word}#"


def _with_file(record: Record) -> Record:
    """Return a record whose file is a part of its address."""
    stem = record.file.rpartition(".")[0]
    address, stage = place(f"{stem}/{record.name_in_file}")
    return msgspec.structs.replace(record, address=address, stage=stage)
