"""A dump of msprobe as a trace: `dump.json` beside `dump_tensor_data/`, of torch or of MindSpore.

dump.json lists calls in order of completion; each has inputs and outputs with the file of each tensor. A module's
or a cell's call is addressed by its path alone, so that the two frameworks' dumps meet at one address:

    Module.down.0.Linear.forward.1   ->  down.0@call=1:input.0, …:output, …:weight
    Cell.down.0.Dense.forward.1      ->  the same
    Functional.silu.4.backward       ->  Functional.silu.backward@call=4:output
    Module.a.Linear.parameters_grad.0 -> a:grad.weight

The number is msprobe's own and left out where a path has only the call 0; a single output is `output`, several
are `output.0`, `output.1`. `dump_path` itself opens too: `stepN` becomes the step. MindSpore's tensors are `.npy`
files, torch's are `.pt` files, which are read without unpickling.

A tensor that was not saved, and a file beside the dump that it does not name, are told as not read.

Limits: one rank; a dump of statistics has no tensors; values that are neither tensor, number nor text are left out.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import chain, filterfalse
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from parity import reading
from parity.address import Address
from parity.errors import TraceError
from parity.trace.dumps.dump import Dump, Format, checked_end, quoted, stage_or_unet, unique
from parity.trace.dumps.plain import npy_record
from parity.trace.dumps.torch_file import read_layout
from parity.trace.dumps.tree import is_note
from parity.trace.names import open_inside, read_inside
from parity.trace.npy import npy_files
from parity.trace.records import plain_value
from parity.trace.schema import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["FORMAT"]

FILE: Final = "dump.json"
_TENSORS: Final = "dump_tensor_data"
_KNOWN: Final = frozenset({FILE, "stack.json", "construct.json"})
_PLACE = re.compile(rf"(?:step(?P<step>[0-9]{{1,9}})/)?(?:rank|proc)[0-9]*/{re.escape(FILE)}")
_MODULE = re.compile(
    r"(?:Module|Cell)\.(?P<path>.+)\.[^.]+\.(?P<way>forward|backward|parameters_grad)\.(?P<call>[0-9]{1,9})"
)
_FUNCTION = re.compile(r"(?P<path>.+)\.(?P<call>[0-9]{1,9})\.(?P<way>forward|backward)")
_VALUES: Final = frozenset({"bool", "int", "float", "str"})
_PORTS: Final = {"input_args": "input", "input_kwargs": "input", "input": "input", "output": "output"}
_NOT_SAVED: Final = "-1"
_ENDING: Final = {"forward": "", "backward": ".backward", "parameters_grad": ""}
"""What the path of a call ends in, by its direction."""


class _File(msgspec.Struct, frozen=True):
    """dump.json, as far as it is needed."""

    data: dict[str, Any]
    task: str = ""
    framework: str = ""


class _Call(NamedTuple):
    """One entry of dump.json."""

    path: str
    way: str
    number: int


class _Part(NamedTuple):
    """One dump.json: the step that it is of, None where there are no steps, and its folder, relative."""

    step: int | None
    folder: str


def read_msprobe(folder: Path, names: Sequence[str]) -> Dump | None:
    """Make the records of a step, of a rank in it, or of all steps; None where there is no dump.json.

    Raises:
        TraceError: a file is damaged or lies elsewhere, there is no tensor, or a step has the dumps of several ranks.
    """
    written = list(filter(_is_description, names))
    if not written:
        return None
    parts = _parts(folder, written)
    if not parts:
        return _elsewhere(folder, names, written)
    records: list[Record] = []
    unread: dict[str, str] = {}
    for part in parts:
        content = _read(folder, f"{part.folder}{FILE}")
        reader = _Reader(folder, part)
        records += reader.read(content.data)
        unread |= reader.unsaved
    if not any(record.kind == "tensor" for record in records):
        message = f"{folder}: the dump has no tensors (task {content.task!r}); dump with task 'tensor'"
        raise TraceError(message)
    beside = _beside(records, names, parts)
    known = list(filter(partial(_is_known, folder), beside))
    unnamed = filterfalse(set(known).__contains__, beside)
    unread |= dict.fromkeys(unnamed, "is not named by its dump.json")
    return Dump(
        folder=folder,
        records=unique(records, folder),
        tensors=npy_files(folder),
        ordered=True,
        tool="msprobe",
        framework=content.framework,
        unread=unread,
        known=known,
    )


FORMAT: Final = Format(name="msprobe", suffix="", asked=1, read=read_msprobe, found_by="msprobe's dump.json")


def _is_description(name: str) -> bool:
    """Tell whether a file is a dump.json."""
    return name.rpartition("/")[2] == FILE


def _is_known(folder: Path, name: str) -> bool:
    """Tell whether a file of a dump is one that msprobe writes beside the tensors, or a note."""
    if name.rpartition("/")[2] in _KNOWN:
        return True
    return is_note(folder, name)


def _beside(records: Sequence[Record], names: Sequence[str], parts: Sequence[_Part]) -> list[str]:
    """Return the files in the folders of dumps that hold none of their tensors."""
    holding = set(map(attrgetter("shard"), records))
    folders = tuple(map(attrgetter("folder"), parts))
    return [name for name in filterfalse(holding.__contains__, names) if name.startswith(folders)]


def _elsewhere(folder: Path, names: Sequence[str], written: Sequence[str]) -> Dump:
    """Return the dumps below a folder that is none itself as what was not read: each is a trace of its own."""
    dumps = [name.removesuffix(FILE) for name in written]
    return Dump(
        folder=folder,
        records=[],
        tensors=npy_files(folder),
        ordered=True,
        tool="msprobe",
        unread={name: f"is a dump of msprobe by itself; give {folder / name}" for name in dumps},
        known=[name for name in names if name.startswith(tuple(dumps))],
    )


def _parts(folder: Path, written: Sequence[str]) -> list[_Part]:
    """Return the dumps of a folder by their dump.json: its own, or else one of each step's rank.

    Raises:
        TraceError: a step has the dumps of several ranks.
    """
    if FILE in written:
        return [_Part(None, "")]
    ranks: defaultdict[int | None, list[_Part]] = defaultdict(list)
    for match in filter(None, map(_PLACE.fullmatch, written)):
        part = _part(match)
        ranks[part.step].append(part)
    if len(ranks) > 1:
        ranks.pop(None, None)  # beside the dumps of steps one without a step is none of them
    for parts in ranks.values():
        if len(parts) > 1:
            names = ", ".join(map(attrgetter("folder"), parts))
            message = f"{folder} holds the dumps {names}; a trace is of one rank, give its own folder"
            raise TraceError(message)
    return list(chain.from_iterable(ranks.values()))


def _part(match: re.Match[str]) -> _Part:
    """Return the dump of a rank by the place of its dump.json; step1 and step01 are one step."""
    folder = match[0].removesuffix(FILE)
    if match["step"] is None:
        return _Part(None, folder)
    return _Part(int(match["step"]), folder)


def _read(folder: Path, name: str) -> _File:
    """Read dump.json."""
    text = read_inside(folder, name, reading.DUMP_BYTES)
    try:
        return reading.json(text, _File)
    except ValueError as error:
        message = f"{folder / name} is no dump.json of msprobe: {error}"
        raise TraceError(message) from error


def _parsed(name: str) -> _Call:
    """Return path, direction and number of an entry's name; a name of another form is a path by itself."""
    match = _MODULE.fullmatch(name) or _FUNCTION.fullmatch(name)
    if match is None:
        return _Call(quoted(name), "forward", 0)
    path, way = quoted(match["path"]), match["way"]
    return _Call(f"{path}{_ENDING[way]}", way, int(match["call"]))


class _Reader:
    """Makes the records of one dump.json; `unsaved` are the tensors that it names and that were not saved."""

    def __init__(self, folder: Path, part: _Part) -> None:
        """Read files of `part` below `folder`."""
        self._folder, self._part = folder, part
        self.unsaved: dict[str, str] = {}

    def read(self, data: dict[str, Any]) -> list[Record]:
        """Return the records of every call, in order.

        Raises:
            TraceError: an entry is no call, is nested too deeply, or names a file that cannot be read.
        """
        try:
            return list(self._records(data))
        except RecursionError as error:
            where = self._folder / self._part.folder / FILE
            message = f"{where} is no dump.json of msprobe: it is nested too deeply"
            raise TraceError(message) from error

    def _records(self, data: dict[str, Any]) -> Iterator[Record]:
        """Yield the records of every call."""
        calls = {name: _parsed(name) for name in data}
        numbered = {call.path for call in calls.values() if call.number}
        for name, call in calls.items():
            entry = data[name]
            if not isinstance(entry, dict):
                where = self._folder / self._part.folder / FILE
                message = f"{where}: {name!r} is {entry!r:.40}; expected an object"
                raise TraceError(message)
            place = Address(path=call.path, step=self._part.step, port="output")
            if call.path in numbered:
                place = replace(place, call=call.number)
            for port, leaf in _leaves(entry, call.way):
                record = self._record(replace(place, port=port), leaf, call.way)
                if record is not None:
                    yield record

    def _record(self, address: Address, leaf: Any, way: str) -> Record | None:
        """Return the record of one leaf; None where it was not saved or is no value of ours."""
        text = str(replace(address, port=quoted(address.port)))
        stage = _stage(address, way)
        if leaf is None and address.port.startswith("input"):
            return Record(address=text, stage=stage, kind="value")
        if not isinstance(leaf, dict):
            return None
        file, value = leaf.get("data_name", _NOT_SAVED), leaf.get("value")
        is_saved = isinstance(file, str) and file != _NOT_SAVED
        if is_saved:
            return self._tensor(text, stage, file)
        if {leaf.get("type"), type(value).__name__} <= _VALUES:
            return Record(address=text, stage=stage, kind="value", value=plain_value(value))
        if "shape" in leaf:
            self.unsaved[f"{self._part.folder}{FILE}: {text}"] = "was not saved, only its statistics were"
        return None

    def _tensor(self, address: str, stage: str, file: str) -> Record:
        """Return the record of a tensor's file."""
        name = f"{self._part.folder}{_TENSORS}/{file}"
        if not name.endswith(".pt"):
            return msgspec.structs.replace(npy_record(self._folder, name, address, stage), native=file)
        where = f"{self._folder / name}"
        with os.fdopen(open_inside(self._folder, name), "rb") as opened:
            layout = read_layout(opened, where)
            size = os.fstat(opened.fileno()).st_size
        record = Record(
            address=address,
            stage=stage,
            shape=layout.shape,
            dtype=layout.dtype,
            shard=name,
            offset=layout.offset,
            native=file,
        )
        end = checked_end(record, layout.offset, size, where)
        if end == layout.offset:  # it is empty
            return msgspec.structs.replace(record, offset=None)
        return record


def _stage(address: Address, way: str) -> str:
    """Return the stage of a port of a call."""
    if way != "forward":
        return "gradients"
    if not address.port.startswith(("input", "output")):
        return "weights"
    return stage_or_unet(address.path.removesuffix(".backward"))


def _leaves(entry: dict[str, Any], way: str) -> Iterator[tuple[str, Any]]:
    """Yield port and description of everything in one entry."""
    for section, content in entry.items():
        if way == "parameters_grad":
            yield from _flat(_first_of(content), f"grad.{section}")
        elif section == "output" and isinstance(content, list) and len(content) == 1:
            # A single output has no number; a single input keeps its own, since another call may have several.
            yield from _flat(content[0], "output")
        elif section in _PORTS:
            yield from _flat(content, _PORTS[section])
        elif section == "parameters":
            for parameter, each in _by_name(content).items():
                yield from _flat(each, parameter)


def _by_name(content: Any) -> dict[str, Any]:
    """Return the parameters of a call by their names; none where they are not listed so."""
    if not isinstance(content, dict):
        return {}
    return content


def _first_of(content: Any) -> Any:
    """Return the first of several descriptions; anything else as it is."""
    if isinstance(content, list):
        return next(iter(content), content)
    return content


def _flat(content: Any, port: str) -> Iterator[tuple[str, Any]]:
    """Yield (port, description) of every leaf of nested lists and objects."""
    inner = _inner(content)
    if inner is None:
        yield port, content
        return
    for key, each in inner.items():
        yield from _flat(each, f"{port}.{key}")


def _inner(content: Any) -> dict[Any, Any] | None:
    """Return what a list or an object of descriptions holds by its keys; None for a description, which has a type."""
    if isinstance(content, list):
        return dict(enumerate(content))
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("type"), str):
        return None
    return content
