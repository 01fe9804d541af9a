"""Recognises what other tools wrote, by its files.

A trace of ours says what it is. Anything else is shown to one format after the other: each reads those of the files that are
its own, in whatever folder below they lie, and what all of them read is one trace. The formats are the modules of this
folder that have a `FORMAT`, so a further one is a further file and nothing else. docs/other-dumps.md has the table of them
for whoever has such files.

Whatever is left over is not lost sight of: `Dump.unread` names it, and a comparison with it is no MATCH.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module
from itertools import filterfalse
from operator import attrgetter
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Final, NoReturn

from parity.errors import TraceError
from parity.trace import dumps
from parity.trace.dumps.dump import Dump, count_of, unique
from parity.trace.dumps.naming import named_by_files, without_file
from parity.trace.dumps.tree import tree_of
from parity.trace.files import Tensors
from parity.trace.names import natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from parity.trace.dumps.dump import Format
    from parity.trace.dumps.tree import Tree
    from parity.trace.schema import Record

__all__ = ["formats", "read_foreign"]

_REFERENCES: Final = frozenset({"reference", "ref", "expected", "golden", "torch", "pytorch"})
_CANDIDATES: Final = frozenset({"candidate", "cand", "actual", "mindspore", "ms"})
_RESULT: Final = "result.json"
_RECORDS: Final = "records.jsonl"


@cache
def formats() -> tuple[Format, ...]:
    """Return all formats, in the order in which they are asked."""
    found: list[Format] = []
    for info in iter_modules(dumps.__path__, f"{dumps.__name__}."):
        module = import_module(info.name)
        if hasattr(module, "FORMAT"):
            found.append(module.FORMAT)
    return tuple(sorted(found, key=attrgetter("asked")))


def read_foreign(path: Path) -> Dump:
    """Return the dump at `path`, a folder or a file.

    Raises:
        TraceError: nothing in it can be read, two files hold one address, or it holds both sides of a comparison.
    """
    if path.is_dir():
        return _in_folder(path)
    return _alone(path)


def _in_folder(path: Path) -> Dump:
    """Return all that lies under a folder as one dump."""
    tree = tree_of(path)
    _refuse_run(path, tree)
    _refuse_both_sides(path, tree)
    found: list[Dump] = []
    left = dict.fromkeys(tree.files)
    for each in formats():
        files = _ending(left, each.suffix)
        if not files:
            continue
        dump = _read(each, path, files)
        if dump is None:
            continue
        for name in _accounted(dump):
            left.pop(name, None)
        if not dump.ordered:
            dump = replace(dump, records=named_by_files(dump.records))
        found.append(dump)
    tree.set_aside(path, left)
    return _together(path, found, tree)


def _ending(names: Iterable[str], suffix: str | tuple[str, ...]) -> list[str]:
    """Return the names that end so."""
    return [name for name in names if name.endswith(suffix)]


def _refuse_run(path: Path, tree: Tree) -> None:
    """Refuse the folder of a run: what its files hold is known to the manifest above it.

    Raises:
        TraceError: it is one.
    """
    if _RECORDS in tree.files:
        message = (
            f"{path} is a run of a trace and no trace: it has {_RECORDS} and no manifest.json; give the folder above it"
        )
        raise TraceError(message)


def _refuse_both_sides(path: Path, tree: Tree) -> None:
    """Refuse a folder that holds what is to be compared with each other.

    Raises:
        TraceError: it does.
    """
    names = (*tree.files, *tree.unread)
    folders: dict[str, str] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        if slash:
            folders[folder.lower()] = folder
    references, candidates = _REFERENCES & folders.keys(), _CANDIDATES & folders.keys()
    if references and candidates:
        reference, candidate = folders[min(references)], folders[min(candidates)]
        message = (
            f"{path} holds two sides, {reference} and {candidate}; give them one by one, for example "
            f"`parity compare {path / reference} {path / candidate}`"
        )
        raise TraceError(message)


def _read(each: Format, path: Path, files: Sequence[str]) -> Dump | None:
    """Return what a format reads of these files, having left out those that it cannot read.

    Raises:
        TraceError: no single file is at fault.
    """
    try:
        return each.read(path, files)
    except TraceError:
        if not each.suffix:
            raise
        unread = _damaged(each, path, files)
        if not unread:
            raise
    nothing = Dump(folder=path, records=[], tensors=_Several({}), ordered=True, tool="")
    dump = nothing
    whole = list(filterfalse(unread.__contains__, files))
    if whole:
        dump = each.read(path, whole) or nothing
    dump.unread.update(unread)
    return dump


def _damaged(each: Format, path: Path, files: Iterable[str]) -> dict[str, str]:
    """Return the files that a format cannot read even by themselves, with what it says of them."""
    unread = {}
    for name in files:
        try:
            each.read(path, [name])
        except TraceError as error:
            unread[name] = str(error).removeprefix(f"{path / name}").lstrip(": ")
    return unread


def _accounted(dump: Dump) -> list[str]:
    """Return the files that a dump has dealt with, read or not."""
    read = [record.shard for record in dump.records if record.shard is not None]
    return [*read, *dump.known, *dump.unread]


def _together(path: Path, found: Sequence[Dump], tree: Tree) -> Dump:
    """Return several dumps of a folder as one; of two formats there is no common order.

    Raises:
        TraceError: they hold no tensor, or two have one address.
    """
    unread = tree.unread.copy()
    records: list[Record] = []
    notes: list[str] = []
    tools: dict[str, None] = {}
    for dump in found:
        unread |= dump.unread
        records += dump.records
        notes += dump.notes
        tools[dump.tool] = None
    readable = list(filter(_has_records, found))
    if not _hold_tensor(records):
        _refuse(path, unread)
    if len(readable) > 1:
        records.sort(key=_by_folder)
    if tree.passed_over:
        notes.append(f"passed over, since no tensor can be in such files: {count_of(tree.passed_over)}")
    return Dump(
        folder=path,
        records=unique(records, path),
        tensors=_tensors(readable),
        ordered=len(readable) == 1 and readable[0].ordered,
        tool=", ".join(filter(None, tools)),
        framework=readable[0].framework,
        unread=dict(sorted(unread.items(), key=_by_name)),
        notes=tuple(notes),
    )


def _has_records(dump: Dump) -> bool:
    """Tell whether anything was read."""
    return bool(dump.records)


def _hold_tensor(records: Iterable[Record]) -> bool:
    """Tell whether there is a tensor among some records, and not values alone."""
    return any(record.kind == "tensor" for record in records)


def _by_name(item: tuple[str, str]) -> tuple[tuple[int, int, str], ...]:
    """Return the natural order of a name."""
    return natural(item[0])


def _by_folder(record: Record) -> tuple[tuple[int, int, str], ...]:
    """Return the natural order of the folder that a record's file lies in."""
    return natural(record.file.rpartition("/")[0])


def _refuse(path: Path, unread: dict[str, str]) -> NoReturn:
    """Say that nothing under a folder can be read, and of the first files why.

    Raises:
        TraceError: always.
    """
    *most, last = sorted(each.found_by for each in formats() if each.found_by)
    if (path / _RESULT).exists():
        raise _of_result(path)
    message = f"{path} is no trace: it has neither manifest.json nor {', '.join(most)} or {last} that can be read{_why(unread)}"
    raise TraceError(message)


def _of_result(path: Path) -> TraceError:
    """Return the error of a result in a trace's place."""
    message = f"{path} is the result of a comparison and no trace; `parity show {path}` prints it, `parity compare REFERENCE CANDIDATE` takes traces"
    return TraceError(message)


def _why(unread: dict[str, str]) -> str:
    """Return behind a semicolon what was not read of some files and why, or nothing."""
    if not unread:
        return ""
    return f"; {count_of(list(map(' '.join, unread.items())))}"


def _tensors(found: Sequence[Dump]) -> Tensors:
    """Return what reads the tensors of several dumps."""
    if len(found) == 1:
        return found[0].tensors
    by_file: dict[str | None, Tensors] = {}
    for dump in found:
        files = map(attrgetter("shard"), dump.records)
        by_file |= dict.fromkeys(files, dump.tensors)
    return _Several(by_file)


class _Several(Tensors):
    """The tensors of files of several formats."""

    def __init__(self, by_file: dict[str | None, Tensors]) -> None:
        """Read each file by its own format."""
        self._by_file = by_file

    def read(self, record: Record) -> NDArray[Any]:
        """Return the elements of a tensor's record.

        Raises:
            TraceError: its file cannot be read.
        """
        return self._by_file[record.shard].read(record)

    def joined(self, records: Sequence[Record], sizes: NDArray[Any]) -> NDArray[Any]:
        """Return the elements end to end, as the format does it where all lie in files of one.

        Raises:
            TraceError: as `read`.
        """
        readers = {id(self._by_file[record.shard]) for record in records}
        if len(readers) > 1:
            return super().joined(records, sizes)
        return self._by_file[records[0].shard].joined(records, sizes)


def _unknown(path: Path) -> str:
    """Return what is wrong with a path that is no folder and has the ending of no format."""
    if not path.is_file():
        return f"{path} is not a folder; give the folder that `parity record --out` wrote"
    *most, last = (each.name for each in formats() if each.alone)
    return f"{path} is not a folder, and no file of a format that is read by itself: {', '.join(most)} or {last}"


def _alone(path: Path) -> Dump:
    """Return the dump that is one file.

    Raises:
        TraceError: it is of no known format, is not there, or cannot be read.
    """
    fitting = [each for each in formats() if each.alone and path.name.endswith(each.suffix)]
    if not fitting and path.name == _RESULT:
        raise _of_result(path)
    if not fitting:
        raise TraceError(_unknown(path))
    if not path.is_file():
        message = f"{path} is not there; give a trace's folder or a {fitting[0].name} file"
        raise TraceError(message)
    file = path.resolve()  # the user named it, and caches of checkpoints are full of links
    unread: dict[str, str] = {}
    for each in fitting:
        dump = each.read(file.parent, [file.name])
        if dump is None:
            continue
        if _hold_tensor(dump.records):
            return replace(dump, records=unique(without_file(dump.records), path))
        unread |= dump.unread
    message = f"{path} holds no tensor{_why(unread)}"
    raise TraceError(message)
